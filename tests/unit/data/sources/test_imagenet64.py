from zipfile import ZipFile

import numpy as np
import pytest
from numpy.lib import format as npy

from dansm.config import ImageNet64Source
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError


@pytest.fixture
def published(tmp_path):
    """Write ten batches as published, and return their folder, images and labels from 1."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for k in range(1, 11):
        data = rng.integers(0, 256, (k % 3 + 2, 12288), dtype=np.uint8)
        ids = rng.integers(1, 1001, len(data))
        np.savez(
            tmp_path / f"train_data_batch_{k}.npz", data=data, labels=ids, mean=np.zeros(12288)
        )
        images.append(data)
        labels.append(ids)
    return tmp_path, np.concatenate(images), np.concatenate(labels)


def flipped(content):
    """Change a byte of the first array's values."""
    return content[:60] + bytes([content[60] ^ 255]) + content[61:]


def build(folder, count=None, shape=(3, 64, 64)):
    source = ImageNet64Source(kind="imagenet64", folder=folder, count=count)
    build_pixel_store(source, shape, "", folder / "store")
    return open_store(folder / "store")


@pytest.mark.parametrize("rows", [1, 2, 3, 4096])
def test_batches_are_read_in_their_order(published, monkeypatch, rows):
    monkeypatch.setattr("dansm.data.sources.imagenet64._BLOCK_ROWS", rows)
    folder, images, labels = published
    store = build(folder)
    # Row by row, first all of red, then green, then blue.
    image = store.array[7]
    np.testing.assert_array_equal(image[0].ravel(), images[7, :4096])
    np.testing.assert_array_equal(image[2, 63], images[7, 2 * 4096 + 63 * 64 :])
    np.testing.assert_array_equal(store.array.reshape(len(images), -1), images)
    np.testing.assert_array_equal(store.labels, labels - 1)


def test_packed_batches_are_read_too(published):
    folder, images, _ = published
    path = folder / "train_data_batch_4.npz"
    batch = dict(np.load(path))
    np.savez_compressed(path, **batch)
    np.testing.assert_array_equal(build(folder).array.reshape(len(images), -1), images)


@pytest.mark.parametrize("count", [1, 8])
def test_a_count_takes_the_first(published, count):
    folder, images, labels = published
    store = build(folder, count)
    np.testing.assert_array_equal(store.array.reshape(count, -1), images[:count])
    np.testing.assert_array_equal(store.labels, labels[:count] - 1)


def test_what_is_missing_or_damaged_is_named(published):
    folder, images, _ = published
    with pytest.raises(InputError, match=f"expected 100 images, found {len(images)}"):
        build(folder, 100)
    with pytest.raises(InputError, match=r"shape \(3, 32, 32\), found .*3, 64, 64\)"):
        build(folder, shape=(3, 32, 32))
    path = folder / "train_data_batch_3.npz"
    whole = path.read_bytes()
    np.savez_compressed(path, data=np.zeros((2, 12288), np.uint8), labels=np.ones(2))
    packed = path.read_bytes()
    wrong = {
        "a complete npz file": [whole[:-500], b"<html>", flipped(whole), flipped(packed)],
        r"data of shape \(images, 12288\), uint8, found \(2, 12288\), float64": [
            {"data": np.zeros((2, 12288)), "labels": np.ones(2)}
        ],
        r"data of shape \(images, 12288\), uint8, found \(2, 3072\), uint8": [
            {"data": np.zeros((2, 3072), np.uint8), "labels": np.ones(2)}
        ],
        r"labels from 1, found shape \(2,\), from 0": [
            {"data": np.zeros((2, 12288), np.uint8), "labels": np.arange(2)}
        ],
    }
    for message, contents in wrong.items():
        for content in contents:
            if isinstance(content, dict):
                np.savez(path, **content)
            else:
                path.write_bytes(content)
            with pytest.raises(InputError, match=f"{path}: expected {message}"):
                build(folder)
    path.unlink()
    with pytest.raises(InputError, match=f"{path}: expected a batch .*image-net.org"):
        build(folder)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("count", [None, 7])
def test_any_order_in_memory_is_read(published, version, order, count):
    folder, images, _ = published
    path = folder / "train_data_batch_2.npz"
    batch = dict(np.load(path))
    with ZipFile(path, "w") as archive:
        for name, array in batch.items():
            with archive.open(f"{name}.npy", "w") as file:
                npy.write_array(file, np.asarray(array, order=order), version)
    expected = images[:count]
    store = build(folder, count)
    np.testing.assert_array_equal(store.array.reshape(len(expected), -1), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.ones(5), "expected as many images as labels, 5, found 2"),
        (np.ones(1), "expected as many images as labels, 1, found 2"),
        (np.array([1.5, 2]), "expected labels from 1, found shape .* of float64"),
        (np.array([1, np.nan]), "expected labels from 1"),
        (np.array(["a", "b"]), "expected a complete npz file"),
        (np.array([None, 1], dtype=object), "expected a complete npz file, found Object arrays"),
    ],
)
def test_labels_that_do_not_fit_are_named(published, labels, message):
    folder, *_ = published
    path = folder / "train_data_batch_3.npz"
    np.savez(path, data=np.zeros((2, 12288), np.uint8), labels=labels)
    with pytest.raises(InputError, match=f"{path}: {message}"):
        build(folder)
