"""Images per second from LSUN's LMDB, against the same images as PNG files read one by one.

    python benchmarks/read_lsun.py                         # photos from scikit-learn, as LSUN's are
    python benchmarks/read_lsun.py --folder resources/lsun # real ones

Both ways end in the arrays that a store of 256×256 images gets. Files are in the page cache.
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import lmdb
import numpy as np
import typer
from PIL import Image
from sklearn.datasets import load_sample_images

from dansm.config import LsunSource
from dansm.data.sources import lsun
from dansm.data.sources.images import decode_image

SHAPE = (3, 256, 256)
CORES = len(os.sched_getaffinity(0))


def main(
    folder: Annotated[Path | None, typer.Option(help="With LSUN's zip or LMDB")] = None,
    category: str = "bedroom_train",
    count: int = 1000,
    rounds: int = 5,
) -> None:
    """Print the medians over rounds, in which the ways take turns, and the ratios to the first."""
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            folder = Path(scratch)
            write_lmdb(folder / f"{category}_lmdb", count)
        source = LsunSource(kind="lsun", folder=folder, category=category, count=count)
        pngs = Path(scratch) / "png"
        write_pngs(folder / f"{category}_lmdb", pngs, count)
        ways: dict[str, Callable[[], int]] = {
            "PNG files, one by one": lambda: read_pngs(pngs),
            "LMDB, 1 thread": lambda: read_lsun(source, 1),
            f"LMDB, {CORES} threads": lambda: read_lsun(source, CORES),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, read in ways.items():
                start = time.perf_counter()
                done = read()
                rates[name].append(done / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = next(iter(medians.values()))
    for name, rate in medians.items():
        spread = f"{min(rates[name]):.0f} to {max(rates[name]):.0f}"
        typer.echo(f"{name:24}{rate:6.0f} images/s ({spread}), ratio {rate / first:.2f}")


def write_lmdb(folder: Path, count: int) -> None:
    """Write cuts of two photos as LSUN's authors did: short side 256, WebP of quality 75."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    rng = np.random.default_rng(0)
    with (
        lmdb.open(str(folder), map_size=2**32) as database,
        database.begin(write=True) as transaction,
    ):
        for k in range(count):
            photo = photos[k % len(photos)]
            height = int(rng.integers(256, photo.height + 1))
            width = min(photo.width, round(height * 4 / 3))
            left = int(rng.integers(0, photo.width - width + 1))
            top = int(rng.integers(0, photo.height - height + 1))
            cut = photo.crop((left, top, left + width, top + height))
            file = io.BytesIO()
            cut.resize((round(256 * width / height), 256)).save(file, "WEBP", quality=75)
            transaction.put(f"{k:06d}".encode(), file.getvalue())


def write_pngs(database: Path, folder: Path, count: int) -> None:
    """Write the first images of an LMDB as PNG files."""
    folder.mkdir()
    for k, value in enumerate(first_values(database, count)):
        Image.open(io.BytesIO(value)).save(folder / f"{k:06d}.png")


def first_values(database: Path, count: int) -> Iterator[bytes]:
    """Yield the first values of an LMDB."""
    with (
        lmdb.open(str(database), readonly=True, lock=False) as opened,
        opened.begin() as transaction,
    ):
        for _, (_, value) in zip(range(count), transaction.cursor(), strict=False):
            yield value


def read_pngs(folder: Path) -> int:
    """Read every PNG file, one after the other; return how many."""
    paths = sorted(folder.iterdir())
    for path in paths:
        decode_image(path.read_bytes(), SHAPE, str(path))
    return len(paths)


def read_lsun(source: LsunSource, workers: int) -> int:
    """Read the LMDB as building a store does; return how many images."""
    return sum(len(block) for block in lsun.read(source, SHAPE, workers).blocks)


if __name__ == "__main__":
    typer.run(main)
