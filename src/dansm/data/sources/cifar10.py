"""CIFAR-10."""

import shutil
import tarfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dansm.config import Cifar10Source, Shape
from dansm.data.sources.images import Images
from dansm.data.standins import smooth_images
from dansm.errors import InputError
from dansm.io.arrays import read_arrays

_ARCHIVE = "cifar-10-python.tar.gz"
_FOLDER = "cifar-10-batches-py"
_STANDIN = (
    "standin_{part}.npz"  # in that folder; the published files are pickles, which are programs
)
# Debian 12's Python, 3.11.2, is older than the filters.
_SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def read(source: Cifar10Source, shape: Shape, workers: int) -> Images:
    """Return the 50 000 training images, or the 10 000 of the test set.

    Raises
    ------
    InputError
        If neither the archive nor its unpacked folder is there, or a file has another checksum.
    """
    if not source.published:
        standin = source.folder / _FOLDER / _STANDIN.format(part=source.part)
        arrays = read_arrays(standin, ("data", "labels"))
        return Images(
            count=len(arrays["data"]),
            blocks=[arrays["data"]],
            description="made-up images in place of CIFAR-10's",
            labels=arrays["labels"],
            classes=[f"class {k}" for k in range(10)],
        )
    if (source.folder / _FOLDER).is_dir():
        return _read(source, source.folder, source.folder / _FOLDER)
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
        return _read(source, Path(folder), archive)


def _read(source: Cifar10Source, root: Path, where: Path) -> Images:
    from torchvision.datasets import CIFAR10

    try:
        # Which compares checksums before it reads.
        images = CIFAR10(root, train=source.part == "training")
    except RuntimeError as error:
        raise InputError(
            f"{where}: expected CIFAR-10's python version, found files that are missing or have "
            "other checksums"
        ) from error
    return Images(
        count=len(images),
        blocks=[images.data.transpose(0, 3, 1, 2)],
        description=f"CIFAR-10 python version, {source.part} images, through torchvision",
        labels=np.asarray(images.targets),
        classes=images.classes,
    )


def write_standin(source: Cifar10Source, shape: Shape, images: int) -> None:
    """Write an npz of made-up images; see `dansm.data.standins.write_standin`."""
    folder = source.folder / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.stack(list(smooth_images(images, 3, 32, 32, source.part))).transpose(0, 3, 1, 2)
    np.savez(folder / _STANDIN.format(part=source.part), data=pixels, labels=np.arange(images) % 10)
