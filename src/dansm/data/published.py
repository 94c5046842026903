"""Where published datasets can be downloaded, file by file.

The checksums are those that torchvision checks; LSUN's authors publish none.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dansm.config import Cifar10Source, LsunSource, MnistSource, Source


class PublishedFile(NamedTuple):
    """A file that a source reads and that can be downloaded.

    Attributes
    ----------
    path
        Where the source looks for it.
    addresses
        Where it is found, in the order to try.
    checksum
        ``md5:…`` or ``sha256:…``; None if none is known.
    unpacked
        What it unpacks to, which makes it unnecessary.
    """

    path: Path
    addresses: list[str]
    checksum: str | None
    unpacked: Path


_CIFAR10 = ("https://www.cs.toronto.edu/~kriz/", "c58f30108f718f92721af3b95e74349a")
_LSUN = "http://dl.yf.io/lsun/scenes/"
_IDX_FOLDERS = {
    "mnist": ["https://ossci-datasets.s3.amazonaws.com/mnist/"],
    "fashion_mnist": ["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
}
_IDX_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    },
}


def files_are_there(source: Source) -> bool:
    """Tell whether all that a source reads is there, packed or unpacked, if it is published."""
    files = published_files(source).values()
    return all(file.path.exists() or file.unpacked.exists() for file in files)


def published_files(source: Source, mirrors: Iterable[str] = ()) -> dict[str, PublishedFile]:
    """Return the published files that a source reads, by name; none for a folder of one's own.

    Parameters
    ----------
    mirrors
        Addresses of folders (``https://…``, ``http://…``, ``file:…``) that hold the files under
        their published names; they are tried first.
    """
    if isinstance(source, Cifar10Source):
        files = {"cifar-10-python.tar.gz": ("cifar-10-batches-py", f"md5:{_CIFAR10[1]}")}
        homes = [_CIFAR10[0]]
    elif isinstance(source, MnistSource):
        md5s = _IDX_MD5[source.kind]
        files = {f"{name}.gz": (name, f"md5:{md5}") for name, md5 in md5s.items()}
        homes = _IDX_FOLDERS[source.kind]
    elif isinstance(source, LsunSource):
        name = f"{source.category}_lmdb"
        checksum = None if source.sha256 is None else f"sha256:{source.sha256}"
        files = {f"{name}.zip": (f"{name}/data.mdb", checksum)}
        homes = [_LSUN]
    else:
        return {}
    folders = [folder.removesuffix("/") for folder in (*mirrors, *homes)]
    return {
        name: PublishedFile(
            source.folder / name,
            [f"{folder}/{name}" for folder in folders],
            checksum,
            source.folder / unpacked,
        )
        for name, (unpacked, checksum) in files.items()
    }
