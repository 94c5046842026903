"""How near the best of k Gaussian noises comes to a direction, by dimension.

A match size k lets a sample choose among at most k noises. How similar the best of them can be is
bounded by √(2 ln k / d) in d dimensions (Lines Matching Models, appendix A.2), so a similarity s
takes about exp(d s² / 2) noises: match size cannot do in high dimension what it does in low.
"""

import math
from pathlib import Path

import numpy as np

from dansm.config import BestOfK
from dansm.io.tables import BEST_OF_K_COLUMNS, write_table
from dansm.randomness import stream_seed


def best_similarities(
    dimensions: int, counts: list[int], draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the largest cosine between a direction and k Gaussian noises, shape (draws, counts).

    The cosine is u / √(u² + v) with u, the noise along the direction, standard normal, and v, what
    is across, chi-square with d − 1 degrees of freedom: so no noise of d numbers is ever made.

    Parameters
    ----------
    dimensions
        d, at least 2.
    counts
        The values of k, ascending. In one draw, each k chooses among the first of the same noises.
    draws
        How often.
    rng
        Of the noises.
    """
    best = np.empty((draws, len(counts)))
    for draw in range(draws):
        along = rng.standard_normal(counts[-1])
        across = rng.chisquare(dimensions - 1, counts[-1])
        cosines = np.maximum.accumulate(along / np.sqrt(along**2 + across))
        best[draw] = cosines[np.array(counts) - 1]
    return best


def bound(dimensions: int, k: int) -> float:
    """Return what the expected similarity of the best of k noises cannot exceed, √(2 ln k / d)."""
    return min(1.0, math.sqrt(2 * math.log(k) / dimensions))


def measure_best_of_k(settings: BestOfK, path: Path) -> None:
    """Write a table of `BEST_OF_K_COLUMNS`: the mean over draws, its standard error, the bound."""
    rows = []
    for dimensions in settings.dimensions:
        rng = np.random.default_rng(stream_seed(settings.seed, "best-of-k", dimensions))
        best = best_similarities(dimensions, settings.counts, settings.draws, rng)
        errors = best.std(0, ddof=1) / math.sqrt(settings.draws)
        for k, mean, error in zip(settings.counts, best.mean(0), errors, strict=True):
            values = [dimensions, k, mean, error, bound(dimensions, k), settings.draws]
            rows.append(dict(zip(BEST_OF_K_COLUMNS, values, strict=True)))
    write_table(path, rows, BEST_OF_K_COLUMNS)
