from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from dansm.config import (
    Cifar10Source,
    DigitsSource,
    ImageFolderSource,
    ImageNet64Source,
    LatentSource,
    LsunSource,
    MnistSource,
)
from dansm.data.published import published_files

FOLDER = Path("some/where")


def test_cifar10_is_where_and_what_torchvision_says():
    files = published_files(Cifar10Source(kind="cifar10", folder=FOLDER))
    assert files == {
        CIFAR10.filename: (
            FOLDER / CIFAR10.filename,
            [CIFAR10.url],
            f"md5:{CIFAR10.tgz_md5}",
            FOLDER / CIFAR10.base_folder,
        )
    }


@pytest.mark.parametrize(("kind", "dataset"), [("mnist", MNIST), ("fashion_mnist", FashionMNIST)])
def test_idx_files_are_where_and_what_torchvision_says(kind, dataset):
    files = published_files(MnistSource(kind=kind, folder=FOLDER))
    training = {name: md5 for name, md5 in dataset.resources if name.startswith("train")}
    assert {name: file.checksum for name, file in files.items()} == {
        name: f"md5:{md5}" for name, md5 in training.items()
    }
    for name, file in files.items():
        assert file.path == FOLDER / name
        assert file.addresses == [dataset.mirrors[0] + name]
        assert file.unpacked == FOLDER / name.removesuffix(".gz")


def test_lsun_has_no_checksum_but_the_users():
    source = LsunSource(kind="lsun", folder=FOLDER, category="church_outdoor_train")
    files = published_files(source)
    assert files == {
        "church_outdoor_train_lmdb.zip": (
            FOLDER / "church_outdoor_train_lmdb.zip",
            ["http://dl.yf.io/lsun/scenes/church_outdoor_train_lmdb.zip"],
            None,
            FOLDER / "church_outdoor_train_lmdb" / "data.mdb",
        )
    }
    pinned = published_files(source.model_copy(update={"sha256": "ab" * 32}))
    assert [file.checksum for file in pinned.values()] == [f"sha256:{'ab' * 32}"]


def test_mirrors_come_first():
    source = Cifar10Source(kind="cifar10", folder=FOLDER)
    (file,) = published_files(source, ["file:/data/", "https://here"]).values()
    name = CIFAR10.filename
    assert file.addresses == [f"file:/data/{name}", f"https://here/{name}", CIFAR10.url]


@pytest.mark.parametrize(
    "source",
    [
        DigitsSource(kind="sklearn_digits"),
        ImageFolderSource(kind="image_folder", folder=FOLDER),
        ImageNet64Source(kind="imagenet64", folder=FOLDER),
        LatentSource(kind="latents", of="digits", autoencoder="kl"),
    ],
    ids=lambda source: source.kind,
)
def test_other_sources_download_nothing(source):
    assert published_files(source) == {}
