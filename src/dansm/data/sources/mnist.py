"""MNIST and Fashion-MNIST: idx files, gzipped or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from dansm.config import MnistSource
from dansm.data.sources.images import PREPARATION, Images, centre_crop
from dansm.errors import InputError

_UINT8 = 8  # idx's code of the type


def read(source: MnistSource, shape: tuple[int, int, int], workers: int) -> Images:
    """Return the training images, framed evenly in black or scaled down to the shape.

    Raises
    ------
    InputError
        If a file is missing or is not the idx file that it should be.
    """
    from torchvision.datasets import MNIST, FashionMNIST

    images = _read_idx(source.folder, "train-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(source.folder, "train-labels-idx1-ubyte", dimensions=1)
    _, height, width = shape
    if height < images.shape[1] and width < images.shape[2]:
        framed = np.stack(
            [centre_crop(Image.fromarray(image), (height, width)) for image in images]
        )
        done = f", {PREPARATION}"
    else:
        frame = [
            (max(0, n - m) // 2, -(-max(0, n - m) // 2))
            for n, m in zip((height, width), images.shape[1:], strict=True)
        ]
        framed, done = np.pad(images, [(0, 0), *frame]), ""
    name, dataset = {
        "mnist": ("MNIST", MNIST),
        "fashion_mnist": ("Fashion-MNIST", FashionMNIST),
    }[source.kind]
    return Images(
        count=len(images),
        blocks=[framed[:, None]],
        description=f"{name}, training images{done}",
        labels=labels,
        classes=dataset.classes,
    )


def _read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """Read an array from an idx file: two zeros, type, dimensions, big-endian sizes, values."""
    path = folder / name
    packed = folder / f"{name}.gz"
    try:
        if path.exists():
            content = path.read_bytes()
        else:
            path = packed
            content = gzip.decompress(packed.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: expected {name} or {name}.gz, found neither; "
            "`snakemake stage_data --forcerun download` downloads it again"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: expected a complete file, found {error}") from error
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, _UINT8, dimensions])
    if content[:4] != expected:
        raise InputError(
            f"{path}: expected an idx file of bytes in {dimensions} dimensions, which begins with "
            f"{expected.hex()}, found {content[:4].hex() or 'nothing'}"
        )
    shape = np.frombuffer(content[4:header], ">u4").astype(int)
    if len(content) != header + shape.prod():
        raise InputError(
            f"{path}: expected {header + shape.prod()} bytes for shape {shape.tolist()}, "
            f"found {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
