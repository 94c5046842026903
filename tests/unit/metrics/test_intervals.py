"""Intervals: those of textbooks, none where there are too few values."""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from dansm.metrics.intervals import Interval, corrected, student_interval


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
