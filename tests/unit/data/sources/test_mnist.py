import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from dansm.config import MnistSource
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError
from dansm.io.files import read_json

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 0, 9, 1, 1], np.uint8)
FILES = {"train-images-idx3-ubyte": IMAGES, "train-labels-idx1-ubyte": LABELS}


def idx(array):
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    for name, array in FILES.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return tmp_path


def build(folder, kind="mnist", side=28):
    source = MnistSource(kind=kind, folder=folder)
    build_pixel_store(source, (1, side, side), "", folder / "store")
    return open_store(folder / "store")


@pytest.mark.parametrize(("kind", "third"), [("mnist", "2 - two"), ("fashion_mnist", "Pullover")])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read(folder, kind, third, packed):
    if not packed:
        for name, array in FILES.items():
            (folder / f"{name}.gz").unlink()
            (folder / name).write_bytes(idx(array))
    store = build(folder, kind)
    np.testing.assert_array_equal(store.array[:, 0], IMAGES)
    np.testing.assert_array_equal(store.labels, LABELS)
    assert read_json(store.path / "classes.json")[2] == third


@pytest.mark.parametrize("side", [32, 31])
def test_a_larger_shape_is_framed_in_black(folder, side):
    array = build(folder, side=side).array[:, 0]
    first = (side - 28) // 2
    inside = array[:, first : first + 28, first : first + 28]
    np.testing.assert_array_equal(inside, IMAGES)
    assert array.shape == (5, side, side) and array.sum() == IMAGES.sum(dtype=int)


def test_a_smaller_shape_is_scaled_down(folder):
    store = build(folder, side=14)
    by_hand = [
        Image.fromarray(image).resize((14, 14), Image.Resampling.LANCZOS) for image in IMAGES
    ]
    np.testing.assert_array_equal(store.array[:, 0], np.stack(by_hand))


def test_a_shape_both_smaller_and_larger_is_refused(folder):
    source = MnistSource(kind="mnist", folder=folder)
    with pytest.raises(InputError, match=r"shape \(1, 16, 32\), found .*\(5, 1, 28, 32\)"):
        build_pixel_store(source, (1, 16, 32), "", folder / "store")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", None, "expected train-images-idx3-ubyte or .*neither"),
        ("train-labels-idx1-ubyte.gz", None, "expected train-labels-idx1-ubyte or .*neither"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx(IMAGES))[:-40],
            r"idx3-ubyte\.gz: expected a complete file, found",
        ),
        ("train-images-idx3-ubyte.gz", b"<html>", r"idx3-ubyte\.gz: expected a complete file"),
        (
            "train-images-idx3-ubyte",
            idx(IMAGES)[:-1],
            r"idx3-ubyte: expected 3936 bytes for shape \[5, 28, 28\], found 3935",
        ),
        ("train-images-idx3-ubyte", idx(LABELS), "begins with 00000803, found 00000801"),
        ("train-labels-idx1-ubyte", b"", "begins with 00000801, found nothing"),
    ],
)
def test_what_is_missing_or_damaged_is_named(folder, name, content, message):
    path = folder / name
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        build(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:4], "expected as many labels as images, 5, found 4"),
        (np.repeat(LABELS[:1], 6), "expected as many labels as images, 5, found 6"),
        (np.array([3, 0, 10, 1, 1], np.uint8), "expected labels from 0 to 9, found 0 to 10"),
    ],
)
def test_labels_that_do_not_fit_are_named_before_anything_is_written(folder, labels, message):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    with pytest.raises(InputError, match=f"^{folder}: {message}"):
        build(folder)
    assert not (folder / "store").exists()


@pytest.mark.parametrize("size", range(0, 16, 3))
def test_a_header_that_was_cut_is_named(folder, size):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(idx(IMAGES)[:size])
    with pytest.raises(InputError, match=f"^{path}: expected an idx file"):
        build(folder)
