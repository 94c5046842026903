"""Stand-ins for published datasets: what reads the published files reads them."""

import numpy as np
import pytest

from dansm.config import Cifar10Source, LsunSource, MnistSource
from dansm.data.published import published_files
from dansm.data.sources import build_pixel_store
from dansm.data.standins import smooth_images, write_standin
from dansm.data.store import open_store
from dansm.errors import InputError


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("lsun", (3, 64, 64)),
        ("cifar10", (3, 32, 32)),
        ("mnist", (1, 32, 32)),
        ("fashion_mnist", (1, 28, 28)),
    ],
)
def test_a_standin_is_read_like_the_published_files(tmp_path, kind, shape):
    folder = tmp_path / "made up"
    source = {
        "lsun": LsunSource(kind="lsun", folder=folder, category="bedroom_train", count=12),
        "cifar10": Cifar10Source(kind="cifar10", folder=folder, published=False),
    }.get(kind) or MnistSource(kind=kind, folder=folder)
    write_standin(source, shape, 12)
    files = published_files(source).values()
    assert files and all(file.path.exists() or file.unpacked.exists() for file in files)
    build_pixel_store(source, shape, "none", tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.array.shape == (12, *shape)
    # Images like photos, not noise: neighbours are alike, and images differ from each other.
    images = store.array[:].astype(float)
    assert np.abs(np.diff(images, axis=3)).mean() < 0.2 * images.std()
    assert len({image.tobytes() for image in images}) == 12
    if kind == "lsun":
        assert store.labels is None
    else:
        assert sorted(store.labels) == sorted(k % 10 for k in range(12))


def test_cifar10_itself_must_be_the_published_one(tmp_path):
    source = Cifar10Source(kind="cifar10", folder=tmp_path / "c")
    write_standin(source, (3, 32, 32), 10)
    with pytest.raises(InputError, match="other checksums"):
        build_pixel_store(source, (3, 32, 32), "none", tmp_path / "store")


def test_image_k_is_the_same_whatever_their_number():
    few, many = (list(smooth_images(n, 3, 8, 10)) for n in (2, 5))
    assert few[1].shape == (8, 10, 3) and few[1].dtype == np.uint8
    np.testing.assert_array_equal(few[1], many[1])
