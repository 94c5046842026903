"""CIFAR-10."""

import pickle
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

_ARCHIVE = "cifar-10-python.tar.gz"
_FOLDER = "cifar-10-batches-py"
# Debian 12's Python, 3.11.2, is older than the filters.
_SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


def read(source: Cifar10Source, shape: Shape, workers: int) -> Images:
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


def write_standin(source: Cifar10Source, shape: Shape, images: int) -> None:
    """Write an archive of made-up images; see `dansm.data.standins.write_standin`."""
    from torchvision.datasets import CIFAR10

    rows = (
        np.stack(list(smooth_images(images, 3, 32, 32))).transpose(0, 3, 1, 2).reshape(images, -1)
    )
    labels = np.arange(images) % 10
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    with TemporaryDirectory() as folder:
        batches = Path(folder) / CIFAR10.base_folder
        batches.mkdir()
        for k, name in enumerate(names):
            share = slice(k, None, len(CIFAR10.train_list))
            batch = {"data": rows[share], "labels": labels[share].tolist()}
            (batches / name).write_bytes(pickle.dumps(batch, protocol=2))
        meta = {"label_names": [f"class {k}" for k in range(10)]}
        (batches / CIFAR10.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))
        source.folder.mkdir(parents=True)
        archive = source.folder / CIFAR10.filename.removesuffix(".tar.gz")
        shutil.make_archive(str(archive), "gztar", folder)
