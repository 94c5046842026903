"""Intervals of means over a few seeds, image sets, draws or rounds."""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit  # scipy.stats has them too, and is slow to import

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean with its bounds; they are NaN where there are too few values for any."""

    mean: float
    low: float
    high: float


def student_interval(values: ArrayLike) -> Interval:
    """Return the mean and its Student interval, from two values on; NaN values are left out."""
    found = np.asarray(values, float)
    found = found[~np.isnan(found)]
    mean = float(found.mean()) if len(found) else np.nan
    if len(found) < 2:
        return Interval(mean, np.nan, np.nan)
    half = stdtrit(len(found) - 1, (1 + CONFIDENCE) / 2) * found.std(ddof=1) / np.sqrt(len(found))
    return Interval(mean, float(mean - half), float(mean + half))


class Crossed(NamedTuple):
    """Means over seeds and sets of images with their bounds, and the degrees of freedom."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    degrees: np.ndarray


def crossed_interval(values: np.ndarray) -> Crossed:
    """Return means over seeds and sets of images with the intervals of both together.

    Every seed is measured on the same sets, whose noises make better or worse images whatever the
    seed. So a value is a true mean plus what its seed, its set and their interaction add, all
    random, and its interval is Student's with degrees of freedom by Satterthwaite (1946), from the
    mean squares of seeds, sets and interaction, A, B and E. The variance is taken as A + B - E/4:
    subtracting all of E has no bias, but with so few degrees of freedom it holds the truth in less
    than 93 % of studies where sets do not differ. This holds it in 93 % to 97 %, for 3 to 5 seeds
    and sets, if either adds as much as the interaction or more, and in more of them if neither does
    (tests/unit/metrics/test_intervals.py).

    A set adds the same to all runs only in part: logarithms of ratios of two runs differ between
    sets by more than between seeds, so that these too are to be given seed by seed and set by set.

    Parameters
    ----------
    values
        Shape ``(..., seeds, sets)``. With one set the interval is Student's over seeds.

    Returns
    -------
    Crossed
        Of arrays of shape ``(...)``; bounds are NaN with one seed.
    """
    seeds, sets = values.shape[-2:]
    mean = values.mean((-2, -1))
    if seeds < 2:
        return Crossed(mean, *np.full((2, *mean.shape), np.nan), np.zeros_like(mean))
    of_seeds = values.mean(-1) - mean[..., None]
    between_seeds = sets * np.square(of_seeds).sum(-1) / (seeds - 1)
    if sets < 2:
        variance, degrees = between_seeds, np.full_like(mean, seeds - 1)
    else:
        of_sets = values.mean(-2) - mean[..., None]
        between_sets = seeds * np.square(of_sets).sum(-1) / (sets - 1)
        rest = values - mean[..., None, None] - of_seeds[..., None] - of_sets[..., None, :]
        interaction = np.square(rest).sum((-2, -1)) / ((seeds - 1) * (sets - 1))
        variance, degrees = _joined(between_seeds, between_sets, interaction, seeds - 1, sets - 1)
    half = stdtrit(degrees, (1 + CONFIDENCE) / 2) * np.sqrt(variance / (seeds * sets))
    return Crossed(mean, mean - half, mean + half, degrees)


def _joined(
    seeds: np.ndarray, sets: np.ndarray, interaction: np.ndarray, of_seeds: int, of_sets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance of a value, times their number, and its degrees of freedom.

    From mean squares between seeds, between sets and of their interaction, the first two with their
    degrees; see `crossed_interval`.
    """
    both = seeds + sets
    variance = np.maximum(both - interaction / 4, np.maximum(seeds, sets))
    terms = seeds**2 / of_seeds + sets**2 / of_sets
    # Equal values, whose variance is 0, have as many degrees as there are.
    return variance, np.where(
        terms > 0, both**2 / np.where(terms > 0, terms, 1), of_seeds + of_sets
    )


def half_width(values: ArrayLike) -> float:
    """Return half the width of `student_interval`; NaN for a single value."""
    mean, low, _ = student_interval(values)
    return mean - low


def corrected(interval: Interval, degrees: float, tests: int) -> Interval:
    """Return Student's interval of the same mean at the level that many tests share (Bonferroni).

    That many such intervals hold all their true means together in 95 % of studies. Sides that are
    open, infinite, stay so.

    Parameters
    ----------
    interval
        At 95 %, on a scale on which it is Student's.
    degrees
        Of freedom; infinite for a normal interval.
    tests
        How many intervals are judged together.
    """
    level = 1 - (1 - CONFIDENCE) / tests
    ends = [(1 + confidence) / 2 for confidence in (CONFIDENCE, level)]
    narrow, wide = ndtri(ends) if np.isinf(degrees) else stdtrit(degrees, ends)
    mean, low, high = interval
    wider = float(wide / narrow)
    return Interval(mean, mean - (mean - low) * wider, mean + (high - mean) * wider)


def behind_best(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of how far each of several means is above the lowest true one.

    They are Tukey's simultaneous intervals of all differences of two: in 95 % of studies all hold,
    whichever mean happens to be the lowest. Against that one, picked by its value, one of 14 equal
    means seems to differ in 70 % of studies by Student's intervals of five seeds. Things differ by
    what seeds and sets of images add to each, as in `crossed_interval`; what they add to all alike
    cancels. The spread is taken to be the same for all, which of ratios is closer to the truth:
    their logarithms are the values to give.

    Parameters
    ----------
    values
        Shape ``(seeds, sets, k)``, of k things.

    Returns
    -------
    low, high
        Shape ``(k,)``; NaN with fewer than two seeds or things.
    """
    seeds, sets, things = values.shape
    if seeds < 2 or things < 2 or sets < 1:
        return np.full(things, np.nan), np.full(things, np.nan)
    means = values.mean(axis=(0, 1))
    rest = values - values.mean(axis=2, keepdims=True) - means + values.mean()
    of_seeds, of_sets = rest.mean(axis=1), rest.mean(axis=0)
    between_seeds = sets * np.square(of_seeds).sum() / (seeds - 1) / (things - 1)
    variance, degrees = between_seeds, (seeds - 1) * (things - 1)
    if sets > 1:
        between_sets = seeds * np.square(of_sets).sum() / (sets - 1) / (things - 1)
        left = np.square(rest - of_seeds[:, None] - of_sets).sum()
        interaction = left / (seeds - 1) / (sets - 1) / (things - 1)
        variance, degrees = _joined(
            between_seeds, between_sets, interaction, degrees, (sets - 1) * (things - 1)
        )
    # Quantiles are slow: those of fewer degrees, in steps, are a little wider.
    whole = int(min(degrees, 200))
    whole -= whole % 5 if whole > 20 else 0
    half = _range_quantile(things, whole) * np.sqrt(variance / (seeds * sets))
    gaps = means - means.min()
    return np.maximum(0, gaps - half), gaps + half


@cache
def _range_quantile(things: int, degrees: int) -> float:
    from scipy.stats import studentized_range  # slow to import, and here alone

    return float(studentized_range.ppf(CONFIDENCE, things, degrees))
