"""ImageNet at 64×64: ten npz files, each too large to be held in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from dansm.config import ImageNet64Source, Shape
from dansm.data.sources.images import Images, wanted
from dansm.errors import InputError

_BATCHES = 10
_SHAPE = (3, 64, 64)
_ROW = 3 * 64 * 64
_BLOCK_ROWS = 4096
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read(source: ImageNet64Source, shape: Shape, workers: int) -> Images:
    """Return the first training images, batch by batch; labels, published from 1, are from 0.

    Raises
    ------
    InputError
        If a batch is missing, damaged or not of the published format, or there are fewer images
        than asked for.
    """
    paths = [source.folder / f"train_data_batch_{k}.npz" for k in range(1, _BATCHES + 1)]
    labels = [_labels(path) for path in paths]
    count = wanted(source.folder, sum(map(len, labels)), source)
    return Images(
        count=count,
        blocks=_blocks(paths, [len(of_batch) for of_batch in labels], count),
        description=f"ImageNet 64×64, training batches, first {count} images",
        labels=np.concatenate(labels)[:count] - 1,
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
    except InputError:
        raise
    except Exception as error:  # on damaged bytes, readers of zip and npy raise of every kind
        raise InputError(f"{path}: expected a complete npz file, found {error}") from error


def _labels(path: Path) -> np.ndarray:
    with _reading(path), np.load(path, allow_pickle=False) as batch:
        labels = batch["labels"]
        with np.errstate(invalid="ignore"):
            whole = labels.astype(np.int64)
    if labels.ndim != 1 or whole.min(initial=1) < 1 or not np.array_equal(whole, labels):
        raise InputError(
            f"{path}: expected labels from 1, found shape {labels.shape}, "
            f"from {labels.min(initial=1)}, of {labels.dtype}"
        )
    return whole


def _blocks(paths: list[Path], labels: list[int], count: int) -> Iterator[np.ndarray]:
    for path, expected in zip(paths, labels, strict=True):
        with _reading(path), ZipFile(path) as archive, archive.open("data.npy") as file:
            read_header = _HEADERS[npy.read_magic(file)]
            found, by_columns, dtype = read_header(file)
            if found[1:] != (_ROW,) or dtype != np.uint8:
                raise InputError(
                    f"{path}: expected data of shape (images, {_ROW}), uint8, "
                    f"found {found}, {dtype}"
                )
            if found[0] != expected:
                raise InputError(
                    f"{path}: expected as many images as labels, {expected}, found {found[0]}"
                )
            left = min(count, expected)
            count -= left
            if by_columns:  # only the whole of it can be read
                columns = np.frombuffer(file.read(), np.uint8).reshape(_ROW, expected)
                yield np.ascontiguousarray(columns.T[:left]).reshape(left, *_SHAPE)
                continue
            while left:
                rows = min(left, _BLOCK_ROWS)
                block = np.frombuffer(file.read(rows * _ROW), np.uint8)
                yield block.reshape(rows, *_SHAPE)
                left -= rows
