"""Where pixel datasets come from: each source writes a store."""

from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from dansm.config import Cifar10Source, DigitsSource, LsunSource
from dansm.data.store import write_store
from dansm.errors import InputError

PixelSource = DigitsSource | Cifar10Source | LsunSource


def build_pixel_store(
    source: PixelSource, shape: tuple[int, int, int], licence: str, path: Path
) -> None:
    """Write the store of a pixel dataset.

    Raises
    ------
    InputError
        If the source's images are missing or are not of the given shape.
    """
    if isinstance(source, DigitsSource):
        _write_digits(shape, licence, path)
    elif isinstance(source, Cifar10Source):
        _write_cifar10(source, shape, licence, path)
    else:
        _write_lsun(source, shape, licence, path)


def _write_digits(shape: tuple[int, int, int], licence: str, path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    write_store(
        path,
        [digits.images[:, None].astype(np.uint8)],
        count=len(digits.images),
        shape=shape,
        dtype="uint8",
        value_range=(0, 16),
        source="scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits, test part",
        licence=licence,
        labels=digits.target,
    )


def _write_cifar10(
    source: Cifar10Source, shape: tuple[int, int, int], licence: str, path: Path
) -> None:
    from torchvision.datasets import CIFAR10

    images = CIFAR10(source.folder, train=True, download=True)
    write_store(
        path,
        [images.data.transpose(0, 3, 1, 2)],
        count=len(images),
        shape=shape,
        dtype="uint8",
        value_range=(0, 255),
        source="CIFAR-10 python version, training batches, through torchvision",
        licence=licence,
        labels=np.asarray(images.targets),
    )


def _write_lsun(source: LsunSource, shape: tuple[int, int, int], licence: str, path: Path) -> None:
    import lmdb

    folder = source.folder / f"{source.category}_lmdb"
    if not (folder / "data.mdb").is_file():
        raise InputError(
            f"{folder}: expected LSUN's LMDB (unzip {source.category}_lmdb.zip into "
            f"{source.folder}), found no data.mdb there"
        )
    database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    found = database.stat()["entries"]
    if found < source.count:
        raise InputError(f"{folder}: expected {source.count} images, found {found}")

    def blocks() -> Iterator[np.ndarray]:
        with database.begin() as transaction:
            for key, value in islice(transaction.cursor(), source.count):
                try:
                    image = centre_crop(Image.open(BytesIO(value)), shape[1:])
                except OSError as error:
                    raise InputError(
                        f"{folder}, key {key.decode(errors='replace')}: expected an image, "
                        f"found {len(value)} bytes that cannot be read ({error})"
                    ) from error
                yield image.transpose(2, 0, 1)[None]

    write_store(
        path,
        blocks(),
        count=source.count,
        shape=shape,
        dtype="uint8",
        value_range=(0, 255),
        source=f"LSUN {source.category}, first {source.count} images, centre crop, Lanczos",
        licence=licence,
    )


def centre_crop(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Scale an image so that it just covers ``size`` (height, width), and crop its centre.

    Returns
    -------
    numpy.ndarray, shape (height, width, 3), uint8
    """
    height, width = size
    scale = max(height / image.height, width / image.width)
    scaled = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    resized = image.convert("RGB").resize(scaled, Image.Resampling.LANCZOS)
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    return np.asarray(resized.crop((left, top, left + width, top + height)))
