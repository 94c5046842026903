"""Intervals: those of textbooks, none where there are too few values."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from dansm.metrics.intervals import (
    Interval,
    behind_best,
    corrected,
    crossed_interval,
    student_interval,
)


def test_students_interval_is_that_of_the_t_test():
    values = np.array([3.0, 5.0, 4.0, 8.0])
    found = student_interval([*values, np.nan])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.mean == 5
    assert (found.low, found.high) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("values", [[], [np.nan], [2.0]])
def test_one_value_or_none_has_no_interval(values):
    found = student_interval(values)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(found.mean) == (2.0 not in values)


def crossed(rng, studies, seeds, sets, of_seeds, of_sets, of_both):
    """Studies of a mean of 10 with what seeds, sets and both together add, as deviations."""
    return (
        10
        + of_seeds * rng.normal(size=(studies, seeds, 1))
        + of_sets * rng.normal(size=(studies, 1, sets))
        + of_both * rng.normal(size=(studies, seeds, sets))
    )


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("sets", [3, 5])
def test_crossed_intervals_hold_the_truth_in_95_percent_of_studies(seeds, sets):
    rng = np.random.default_rng(seeds + 10 * sets)
    for deviations in [(1, 1, 0.3), (1, 1, 1), (1, 0, 1), (0, 1, 1), (1, 3, 0.3), (3, 1, 0.3)]:
        _, low, high, _ = crossed_interval(crossed(rng, 10_000, seeds, sets, *deviations))
        # Of 10 000 studies the share is known to 0.4 %.
        assert np.mean((low < 10) & (high > 10)) == pytest.approx(0.95, abs=0.024), deviations
    # Where neither adds anything it is more careful than it says.
    _, low, high, _ = crossed_interval(crossed(rng, 10_000, seeds, sets, 0, 0, 1))
    assert np.mean((low < 10) & (high > 10)) > 0.95


def test_students_interval_over_seeds_alone_does_not_hold_the_truth_where_sets_differ():
    found = crossed(np.random.default_rng(0), 10_000, 5, 3, 1, 3, 0.3).mean(-1)
    half = stats.t.ppf(0.975, 4) * stats.sem(found, axis=1)
    assert np.mean(abs(found.mean(1) - 10) < half) < 0.6


def test_a_crossed_interval_is_recomputed_by_its_formula():
    values = np.array([[3.0, 5.0, 4.0], [6.0, 7.5, 6.0]])
    mean, low, high, found_degrees = crossed_interval(values)
    between_seeds = 3 * np.var(values.mean(1), ddof=1)
    between_sets = 2 * np.var(values.mean(0), ddof=1)
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    variance = between_seeds + between_sets - (rest**2).sum() / 2 / 4
    degrees = (between_seeds + between_sets) ** 2 / (between_seeds**2 + between_sets**2 / 2)
    half = stats.t.ppf(0.975, degrees) * np.sqrt(variance / 6)
    assert (mean, low, high) == pytest.approx((5.25, 5.25 - half, 5.25 + half))
    assert found_degrees == pytest.approx(degrees)


def test_with_one_set_a_crossed_interval_is_students_and_with_one_seed_there_is_none():
    values = np.array([3.0, 5.0, 4.0, 8.0])
    expected = (*student_interval(values), 3)
    assert tuple(crossed_interval(values[:, None])) == pytest.approx(expected)
    mean, low, high, _ = crossed_interval(values[None])
    assert mean == 5 and np.isnan([low, high]).all()
    assert tuple(crossed_interval(np.full((3, 3), 2.0))) == pytest.approx((2, 2, 2, 4))


@pytest.mark.parametrize("degrees", [3, np.inf])
def test_corrected_intervals_are_those_of_a_stricter_level(degrees):
    quantile = stats.norm.ppf if np.isinf(degrees) else partial(stats.t.ppf, df=degrees)
    raw = Interval(5, 5 - quantile(0.975), np.inf)
    found = corrected(raw, degrees, tests=10)
    assert found == pytest.approx((5, 5 - quantile(1 - 0.025 / 10), np.inf))
    assert corrected(raw, degrees, tests=1) == pytest.approx(raw)


@pytest.mark.parametrize("true", [np.zeros(14), np.linspace(0, 3, 14)])
@pytest.mark.parametrize("sets", [1, 3])
def test_the_best_of_many_is_told_right_in_95_percent_of_studies(true, sets):
    rng = np.random.default_rng(sets)
    held = []
    for _ in range(2000):
        # Seeds and sets add to all alike, and to each run by itself.
        common = rng.normal(0, 2, (5, 1, 1)) + rng.normal(0, 3, (1, sets, 1))
        own = rng.normal(0, 0.7, (5, 1, 14)) + (sets > 1) * rng.normal(0, 1.5, (1, sets, 14))
        low, high = behind_best(true + common + own + rng.normal(0, 0.7, (5, sets, 14)))
        held.append(np.all((low <= true) & (true <= high)))
    assert np.mean(held) >= 0.93


def test_tables_of_claims_at_their_thresholds_have_a_false_verdict_in_5_percent_of_studies():
    """The deviations are like those of logarithms of ratios on the digits."""
    rng, studies, claims = np.random.default_rng(0), 2000, 20
    logs = crossed(rng, studies * claims, 5, 5, 0.05, 0.1, 0.05)
    mean, low, high, degrees = crossed_interval(logs)
    level = 1 - 0.05 / claims / 2
    wider = stats.t.ppf(level, degrees) / stats.t.ppf(0.975, degrees)
    assert corrected(Interval(mean[0], low[0], high[0]), degrees[0], claims).low == pytest.approx(
        mean[0] - (mean[0] - low[0]) * wider[0]
    )
    false = abs(mean - 10) > (high - mean) * wider
    assert np.mean(false.reshape(studies, claims).any(1)) < 0.07
    # Over seeds alone, as if sets added the same to all runs, it would be in half of all studies.
    by_seed = logs.mean(-1)
    half = stats.t.ppf(level, 4) * stats.sem(by_seed, axis=1)
    false = abs(by_seed.mean(1) - 10) > half
    assert np.mean(false.reshape(studies, claims).any(1)) > 0.4


def test_one_block_tells_nothing_of_the_best():
    assert np.isnan(behind_best(np.ones((1, 2, 3)))).all()
    assert np.isnan(behind_best(np.ones((3, 2, 1)))).all()
