"""Whether models trained apart make the same images from the same noises."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dansm.errors import InputError
from dansm.io.tables import REPRODUCIBILITY_COLUMNS, write_table
from dansm.metrics.intervals import CONFIDENCE, Interval
from dansm.randomness import stream_seed

RESAMPLINGS = 2000


class RunImages(NamedTuple):
    """A run, the ``samples.npz`` of its evaluation, and which sampling of it is compared."""

    run: str
    process: str
    coupling: str
    match_size: int
    seed: int
    path: str
    sampler: str
    steps: int

    def read(self) -> np.ndarray:
        """Return the images, of shape (n, channels, height, width).

        Raises
        ------
        InputError
            If the file or the sampling is missing, or they are not two images or more.
        """
        key = f"{self.sampler}-{self.steps}"
        try:
            with np.load(self.path) as file:
                if key not in file:
                    raise InputError(f"{self.path}: expected images {key}, found {sorted(file)}")
                images = file[key]
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: expected images {key}, found no file") from error
        if images.ndim != 4 or len(images) < 2:
            raise InputError(
                f"{self.path}: {key}: expected at least 2 images of shape "
                f"(n, channels, height, width), found {images.shape}"
            )
        return images


def measure_reproducibility(
    runs: Sequence[RunImages], dataset: str, path: Path, seed: int = 0
) -> None:
    """Write a table of `REPRODUCIBILITY_COLUMNS`, one row for each two runs.

    ``similarity`` is that of images made from the same noise, ``shuffled`` that of images made from
    different ones; see `similarities`.

    Parameters
    ----------
    runs
        Image k of each is made from noise k.
    dataset
        Their dataset.
    path
        The table.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If two runs have other numbers or shapes of images.
    """
    images = [run.read() for run in runs]
    for run, found in zip(runs, images, strict=True):
        if found.shape != images[0].shape:
            raise InputError(
                f"{run.path}: expected images of shape {images[0].shape} as in {runs[0].path}, "
                f"found {found.shape}"
            )
    rows = []
    for (a, of_a), (b, of_b) in itertools.combinations(zip(runs, images, strict=True), 2):
        same, different = bootstrap(similarities(of_a, of_b), seed)
        values = [dataset, *a[:5], *b[:5], len(of_a), *same, *different]
        rows.append(dict(zip(REPRODUCIBILITY_COLUMNS, values, strict=True)))
    write_table(path, rows, REPRODUCIBILITY_COLUMNS)


def similarities(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the correlation of each image of one run with each of another.

    From all images of a run their mean is taken away, pixel by pixel, since what all images share
    says nothing about their noises; then Pearson's correlation is taken over channels and pixels.

    Parameters
    ----------
    a, b
        Arrays of one shape ``(n, ...)``.

    Returns
    -------
    numpy.ndarray, shape (n, n)
        Row i is image i of ``a``; 0 where an image is like the mean.
    """

    def normed(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat = flat - flat.mean(0)
        flat -= flat.mean(1, keepdims=True)
        norms = np.linalg.norm(flat, axis=1, keepdims=True)
        return np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)

    return normed(a) @ normed(b).T


def bootstrap(correlations: np.ndarray, seed: int) -> tuple[Interval, Interval]:
    """Return the mean similarity of images of the same noise, and of different noises.

    Intervals are bootstrap ones over noises, which are resampled with replacement.

    Parameters
    ----------
    correlations
        As returned by `similarities`, at least 2 by 2.
    seed
        Of the resampling.
    """
    n = len(correlations)
    rng = np.random.default_rng(stream_seed(seed, "bootstrap"))
    # How often each noise is drawn; what is first is the sample itself.
    weights = np.concatenate([np.ones((1, n)), rng.multinomial(n, [1 / n] * n, RESAMPLINGS)])
    diagonal = correlations.diagonal()
    same = weights @ diagonal / n
    # A noise that is drawn twice is no other noise than itself.
    squares = weights**2
    others = ((weights @ correlations) * weights).sum(1) - squares @ diagonal
    pairs = n**2 - squares.sum(1)
    different = others[pairs > 0] / pairs[pairs > 0]
    return _interval(same), _interval(different)


def _interval(means: np.ndarray) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means[1:], [tail, 1 - tail])
    return Interval(float(means[0]), float(low), float(high))
