"""Stand-ins for published datasets: made-up images in the published formats, for reduced scales.

What reads the published files reads these too, so a plumbing check needs no download.
"""

import gzip
import io
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.datasets import CIFAR10

from dansm.config import Cifar10Source, LsunSource, MnistSource, Shape
from dansm.randomness import generator

_CLASSES = 10


def write_standin(
    source: Cifar10Source | MnistSource | LsunSource, shape: Shape, images: int
) -> None:
    """Write the files that a source reads into its folder, with made-up images.

    Parameters
    ----------
    shape
        Shape of the dataset's samples.
    images
        How many there shall be.
    """
    if isinstance(source, LsunSource):
        _write_lsun(source, shape, images)
    elif isinstance(source, MnistSource):
        _write_mnist(source, images)
    else:
        _write_cifar10(source, images)


def smooth_images(count: int, channels: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield images of smooth random gradients, shape (height, width, channels), uint8."""
    for k in range(count):
        coarse = torch.rand(1, channels, 4, 4, generator=generator(k, "standin"))
        image = interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0]
        yield (255 * image).round().byte().permute(1, 2, 0).numpy()


def _write_lsun(source: LsunSource, shape: Shape, count: int) -> None:
    files = {}
    # As published: the shorter side has 256 pixels, the other more.
    for k, image in enumerate(smooth_images(count, 3, shape[1], 4 * shape[2] // 3)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "WEBP")
        files[f"{k:040x}".encode()] = file.getvalue()
    folder = source.folder / f"{source.category}_lmdb"
    folder.mkdir(parents=True)
    # Each value takes whole pages, each key a part of one.
    size = 2**20 + sum(len(value) + 2**13 for value in files.values())
    with lmdb.open(str(folder), map_size=size) as database, database.begin(write=True) as content:
        for key, value in files.items():
            content.put(key, value)


def _write_cifar10(source: Cifar10Source, count: int) -> None:
    rows = np.stack(list(smooth_images(count, 3, 32, 32))).transpose(0, 3, 1, 2).reshape(count, -1)
    labels = np.arange(count) % _CLASSES
    names = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    with TemporaryDirectory() as folder:
        batches = Path(folder) / CIFAR10.base_folder
        batches.mkdir()
        for k, name in enumerate(names):
            share = slice(k, None, len(CIFAR10.train_list))
            batch = {"data": rows[share], "labels": labels[share].tolist()}
            (batches / name).write_bytes(pickle.dumps(batch, protocol=2))
        meta = {"label_names": [f"class {k}" for k in range(_CLASSES)]}
        (batches / CIFAR10.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))
        source.folder.mkdir(parents=True)
        archive = source.folder / CIFAR10.filename.removesuffix(".tar.gz")
        shutil.make_archive(str(archive), "gztar", folder)


def _write_mnist(source: MnistSource, count: int) -> None:
    images = np.stack(list(smooth_images(count, 1, 28, 28)))[..., 0]
    labels = (np.arange(count) % _CLASSES).astype(np.uint8)
    source.folder.mkdir(parents=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
        path = source.folder / f"train-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
