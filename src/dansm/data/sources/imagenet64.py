"""ImageNet at 64×64: ten npz files, each too large to be held in memory."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy

from dansm.config import ImageNet64Source, Shape
from dansm.data.sources.images import Images, wanted
from dansm.errors import InputError

_BATCHES = 10
_SHAPE = (3, 64, 64)
_ROW = 3 * 64 * 64
_BLOCK_ROWS = 4096


def read(source: ImageNet64Source, shape: Shape, workers: int) -> Images:
    """Return the first training images, batch by batch; labels, published from 1, are from 0.

    Raises
    ------
    InputError
        If a batch is missing, damaged or not of the published format, or there are fewer images
        than asked for.
    """
    paths = [source.folder / f"train_data_batch_{k}.npz" for k in range(1, _BATCHES + 1)]
    labels = np.concatenate([_labels(path) for path in paths])
    count = wanted(source.folder, len(labels), source.count)
    return Images(
        count=count,
        blocks=_blocks(paths, count),
        description=f"ImageNet 64×64, training batches, first {count} images",
        labels=labels[:count] - 1,
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected a batch of the published npz files, found no file; image-net.org "
            "gives them to registered users"
        ) from error
    except (BadZipFile, KeyError, OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: expected a complete npz file, found {error}") from error


def _labels(path: Path) -> np.ndarray:
    with _reading(path), np.load(path) as batch:
        labels = batch["labels"]
    if labels.ndim != 1 or labels.min(initial=1) < 1:
        raise InputError(
            f"{path}: expected labels from 1, found shape {labels.shape}, "
            f"from {labels.min(initial=1)}"
        )
    return labels.astype(np.int64)


def _blocks(paths: list[Path], count: int) -> Iterator[np.ndarray]:
    for path in paths:
        with _reading(path), ZipFile(path) as archive, archive.open("data.npy") as file:
            npy.read_magic(file)
            found, _, dtype = npy.read_array_header_1_0(file)
            if found[1:] != (_ROW,) or dtype != np.uint8:
                raise InputError(
                    f"{path}: expected data of shape (images, {_ROW}), uint8, "
                    f"found {found}, {dtype}"
                )
            left = min(count, found[0])
            count -= left
            while left:
                rows = min(left, _BLOCK_ROWS)
                block = np.frombuffer(file.read(rows * _ROW), np.uint8)
                yield block.reshape(rows, *_SHAPE)
                left -= rows
