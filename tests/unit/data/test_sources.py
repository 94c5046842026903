import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from dansm.config import Cifar10Source, DigitsSource, LsunSource
from dansm.data.sources import build_pixel_store, centre_crop
from dansm.data.store import open_store
from dansm.errors import InputError


def test_digits_are_scikit_learns(tmp_path):
    build_pixel_store(DigitsSource(kind="sklearn_digits"), (1, 8, 8), "CC BY", tmp_path / "d")
    store, digits = open_store(tmp_path / "d"), load_digits()
    np.testing.assert_array_equal(store.array[:, 0], digits.images)
    np.testing.assert_array_equal(store.labels, digits.target)
    assert store.array.shape == (1797, 1, 8, 8) and store.array.dtype == np.uint8
    assert store.value_range == (0, 16) and store.meta["licence"] == "CC BY"


def test_a_wrong_shape_is_named(tmp_path):
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\), found .*\(1797, 1, 8, 8\)"):
        build_pixel_store(DigitsSource(kind="sklearn_digits"), (3, 8, 8), "", tmp_path / "d")


def test_cifar10_is_stored_channels_first(tmp_path, monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)

    class Downloaded(SimpleNamespace):
        def __len__(self):
            return len(self.data)

    def cifar10(folder, train, download):
        assert (Path(folder), train, download) == (tmp_path, True, True)
        return Downloaded(data=data, targets=[0, 9, 1, 2, 3, 4])

    monkeypatch.setattr("torchvision.datasets.CIFAR10", cifar10)
    source = Cifar10Source(kind="cifar10", folder=tmp_path)
    build_pixel_store(source, (3, 32, 32), "", tmp_path / "c")
    store = open_store(tmp_path / "c")
    np.testing.assert_array_equal(np.moveaxis(store.array, 1, -1), data)
    assert store.labels.tolist() == [0, 9, 1, 2, 3, 4] and store.value_range == (0, 255)


def write_lsun(folder, images):
    """Write images as LSUN publishes them: WebP files in an LMDB."""
    lmdb = pytest.importorskip("lmdb")
    database = folder / "bedroom_train_lmdb"
    database.mkdir(parents=True)
    with lmdb.open(str(database), map_size=2**22) as env, env.begin(write=True) as transaction:
        for k, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "WEBP", lossless=True)
            transaction.put(f"{folder.name}-{k:03d}".encode(), file.getvalue())
    return LsunSource(kind="lsun", folder=folder, category="bedroom_train", count=len(images))


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # torchvision leaves a cache of the keys in the current folder
    return np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def test_lsun_images_are_read_in_order(tmp_path, rooms):
    source = write_lsun(tmp_path / "lsun", rooms)
    build_pixel_store(source, (3, 16, 16), "", tmp_path / "all")
    np.testing.assert_array_equal(open_store(tmp_path / "all").array, rooms.transpose(0, 3, 1, 2))
    fewer = source.model_copy(update={"count": 2})
    build_pixel_store(fewer, (3, 8, 8), "", tmp_path / "small")
    store = open_store(tmp_path / "small")
    assert store.array.shape == (2, 3, 8, 8) and store.labels is None
    for stored, room in zip(store.array, rooms, strict=False):
        expected = Image.fromarray(room).resize((8, 8), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(stored, np.asarray(expected).transpose(2, 0, 1))


def test_too_few_lsun_images_are_reported(tmp_path, rooms):
    source = write_lsun(tmp_path / "lsun", rooms).model_copy(update={"count": 4})
    with pytest.raises(InputError, match="expected 4 images, found 3") as caught:
        build_pixel_store(source, (3, 16, 16), "", tmp_path / "s")
    assert str(tmp_path / "lsun" / "bedroom_train_lmdb") in str(caught.value)
    assert not (tmp_path / "s" / "meta.json").exists()


def test_a_missing_lsun_folder_is_reported(tmp_path):
    source = LsunSource(kind="lsun", folder=tmp_path, category="bedroom_train", count=1)
    with pytest.raises(InputError, match=r"unzip bedroom_train_lmdb\.zip") as caught:
        build_pixel_store(source, (3, 16, 16), "", tmp_path / "s")
    assert str(tmp_path / "bedroom_train_lmdb") in str(caught.value)


def test_two_lsun_folders_that_differ_by_a_digit_are_not_mixed_up(tmp_path, rooms):
    for folder in ("lsun1", "lsun2"):
        source = write_lsun(tmp_path / folder, rooms)
        build_pixel_store(source, (3, 16, 16), "", tmp_path / f"store of {folder}")


def test_reading_lsun_leaves_no_file_in_the_current_folder(tmp_path, rooms):
    build_pixel_store(write_lsun(tmp_path / "lsun", rooms), (3, 16, 16), "", tmp_path / "s")
    assert {path.name for path in tmp_path.iterdir()} == {"lsun", "s"}


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
@pytest.mark.parametrize(
    "size", [(16, 16), (40, 16), (16, 40), (341, 256), (7, 300), (17, 33), (3, 5)], ids=str
)
@pytest.mark.parametrize("wanted", [(16, 16), (8, 24)], ids=str)
def test_centre_crop_gives_the_wanted_size(mode, size, wanted):
    cropped = centre_crop(Image.new(mode, size, 3), wanted)
    assert cropped.shape == (*wanted, 3) and cropped.dtype == np.uint8


def test_centre_crop_takes_the_centre_and_keeps_proportions():
    stripes = np.zeros((20, 60, 3), np.uint8)
    stripes[:, 20:40] = 200
    np.testing.assert_array_equal(centre_crop(Image.fromarray(stripes), (20, 20)), 200)
    tall = stripes.transpose(1, 0, 2)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(tall), (20, 20)), 200)
    # Half the size: 30 × 10 before cropping to 10 × 20, half a black stripe at each side.
    wide = centre_crop(Image.fromarray(stripes), (10, 20))[5, :, 0]
    expected = np.repeat([0, 200, 0], [5, 10, 5])
    inside = [0, 1, 2, 7, 8, 9, 10, 11, 12, 17, 18, 19]  # Lanczos blurs the stripe's edges
    np.testing.assert_allclose(wide[inside], expected[inside], atol=10)
