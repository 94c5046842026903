"""MNIST and Fashion-MNIST: idx files, gzipped or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from dansm.catalogue import SOURCES
from dansm.config import MnistSource, Shape
from dansm.data.sources.images import PREPARATION, Images, centre_crop
from dansm.data.standins import smooth_images
from dansm.errors import InputError

_UINT8 = 8  # idx's code of the type
_PREFIXES = {"training": "train", "test": "t10k"}  # of the names of files


def read(source: MnistSource, shape: Shape, workers: int) -> Images:
    """Return the images of the source's part, framed evenly in black or scaled down to the shape.

    Raises
    ------
    InputError
        If a file is missing or is not the idx file that it should be.
    """
    from torchvision import datasets

    images = _read_idx(source.folder, f"{_PREFIXES[source.part]}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(source.folder, f"{_PREFIXES[source.part]}-labels-idx1-ubyte", dimensions=1)
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
    name = SOURCES[source.kind].title
    return Images(
        count=len(images),
        blocks=[framed[:, None]],
        description=f"{name}, {source.part} images{done}",
        labels=labels,
        classes=getattr(datasets, name.replace("-", "")).classes,
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
    if content[:4] != expected or len(content) < header:
        raise InputError(
            f"{path}: expected an idx file of bytes in {dimensions} dimensions, which begins with "
            f"{expected.hex()}, found {content[:header].hex() or 'nothing'}"
        )
    shape = np.frombuffer(content[4:header], ">u4").astype(int)
    if len(content) != header + shape.prod():
        raise InputError(
            f"{path}: expected {header + shape.prod()} bytes for shape {shape.tolist()}, "
            f"found {len(content)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def write_standin(source: MnistSource, shape: Shape, images: int) -> None:
    """Write idx files of made-up images; see `dansm.data.standins.write_standin`."""
    pixels = np.stack(list(smooth_images(images, 1, 28, 28, source.part)))[..., 0]
    labels = (np.arange(images) % 10).astype(np.uint8)
    source.folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", pixels), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        path = source.folder / f"{_PREFIXES[source.part]}-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
