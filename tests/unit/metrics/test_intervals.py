"""Intervals: those of textbooks, none where there are too few values."""

import numpy as np
import pytest
from scipy import stats

from dansm.metrics.intervals import bootstrap_interval, student_interval


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


def test_bootstrap_is_the_distribution_of_all_resamples():
    values = np.array([1.0, 2.0, 6.0])
    means = np.array([np.mean([a, b, c]) for a in values for b in values for c in values])
    found = bootstrap_interval(values)
    # All 27 resamples are equally likely; the quantiles of many drawn ones are among them.
    assert found.low == pytest.approx(np.quantile(means, 0.025, method="inverted_cdf"))
    assert found.high == pytest.approx(np.quantile(means, 0.975, method="inverted_cdf"))
    assert found == bootstrap_interval(values)


@pytest.mark.parametrize("values", [[4.0], [4.0, 8.0], [4.0, 8.0, 6.0, np.nan]])
def test_a_bootstrap_of_two_values_or_of_an_open_one_is_none(values):
    found = bootstrap_interval(values)
    assert np.isnan([found.low, found.high]).all()
    assert found.mean == pytest.approx(np.mean(values), nan_ok=True)
