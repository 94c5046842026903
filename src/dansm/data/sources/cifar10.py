"""CIFAR-10."""

import shutil
import tarfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dansm.config import Cifar10Source
from dansm.data.sources.images import Images
from dansm.errors import InputError

_ARCHIVE = "cifar-10-python.tar.gz"
_FOLDER = "cifar-10-batches-py"
# Debian 12's Python, 3.11.2, is older than the filters.
_SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def read(source: Cifar10Source, shape: tuple[int, int, int], workers: int) -> Images:
    """Return the 50 000 training images.

    Raises
    ------
    InputError
        If neither the archive nor its unpacked folder is there, or a file has another checksum.
    """
    if (source.folder / _FOLDER).is_dir():
        return _read(source.folder, source.folder / _FOLDER, source.published)
    archive = source.folder / _ARCHIVE
    with TemporaryDirectory() as folder:
        try:
            shutil.unpack_archive(archive, folder, **_SAFELY)
        except FileNotFoundError as error:
            raise InputError(
                f"{source.folder}: expected {_ARCHIVE} or {_FOLDER}, found neither; "
                "`snakemake stage_data --forcerun download` downloads it again"
            ) from error
        except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
            raise InputError(f"{archive}: expected a complete archive, found {error}") from error
        return _read(Path(folder), archive, source.published)


def _read(root: Path, where: Path, published: bool) -> Images:
    from torchvision.datasets import CIFAR10

    class Unchecked(CIFAR10):
        train_list = [[name, None] for name, _ in CIFAR10.train_list]  # noqa: RUF012
        test_list = [[name, None] for name, _ in CIFAR10.test_list]  # noqa: RUF012
        meta = CIFAR10.meta | {"md5": None}

    try:
        images = (CIFAR10 if published else Unchecked)(root, train=True)
    except RuntimeError as error:
        raise InputError(
            f"{where}: expected CIFAR-10's python version, found files that are missing or have "
            "other checksums"
        ) from error
    return Images(
        count=len(images),
        blocks=[images.data.transpose(0, 3, 1, 2)],
        description="CIFAR-10 python version, training batches, through torchvision",
        labels=np.asarray(images.targets),
        classes=images.classes,
    )
