"""Intervals: those of textbooks, none where there are too few values."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from dansm.metrics.intervals import Interval, behind_best, corrected, student_interval


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


@pytest.mark.parametrize("degrees", [3, np.inf])
def test_corrected_intervals_are_those_of_a_stricter_level(degrees):
    quantile = stats.norm.ppf if np.isinf(degrees) else partial(stats.t.ppf, df=degrees)
    raw = Interval(5, 5 - quantile(0.975), np.inf)
    found = corrected(raw, degrees, tests=10)
    assert found == pytest.approx((5, 5 - quantile(1 - 0.025 / 10), np.inf))
    assert corrected(raw, degrees, tests=1) == pytest.approx(raw)


@pytest.mark.parametrize("true", [np.zeros(14), np.linspace(0, 3, 14)])
def test_the_best_of_many_is_told_right_in_95_percent_of_studies(true):
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        # Seeds differ, as blocks do, by more than runs of a seed.
        low, high = behind_best(true + rng.normal(0, 2, (5, 1)) + rng.normal(0, 1, (5, 14)))
        held.append(np.all((low <= true) & (true <= high)))
    assert np.mean(held) >= 0.93


def test_one_block_tells_nothing_of_the_best():
    assert np.isnan(behind_best(np.ones((1, 3)))).all()
    assert np.isnan(behind_best(np.ones((3, 1)))).all()
