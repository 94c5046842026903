"""Comparison of couplings: intervals are over seeds, differences within pairs of runs."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dansm.analysis.ablation import summarise_ablation


def distances(coupling, seed, values, images=(40, 80)):
    """A row per snapshot and step count; the last snapshot has two sets of images."""
    rows = [
        {
            "dataset": "toy",
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": 0,
            "seed": seed,
            "images_seen": seen,
            "sampler": "euler",
            "steps": 3,
            "nfe": 3.0,
            "seed_range": seed_range,
            "metric": metric,
            "feature_extractor": "digit_classifier",
            "n_samples": 10,
            "value": value + (100 if metric == "kernel_distance" else seed_range),
        }
        for seen, value in zip(images, values, strict=True)
        for seed_range in ((0, 1) if seen == images[-1] else (0,))
        for metric in ("frechet_distance", "kernel_distance")
    ]
    return pd.DataFrame(rows)


def test_intervals_are_over_seeds_and_differences_within_them():
    rng = np.random.default_rng(0)
    common = rng.normal(10, 3, 5)
    finals = {"independent": common + 2 + rng.normal(0, 0.1, 5), "loom": common}
    table = pd.concat(
        distances(coupling, seed, (50.0, value)).assign(seconds=float(seed))
        for coupling, values in finals.items()
        for seed, value in enumerate(values)
    )
    summary = summarise_ablation(table)
    assert summary["coupling"].tolist() == ["loom", "independent"]
    best, vanilla = (row for _, row in summary.iterrows())
    # The last snapshot's two sets of images differ by 1.
    for row, values in ((best, finals["loom"]), (vanilla, finals["independent"])):
        assert row["mean"] == pytest.approx(values.mean() + 0.5)
        interval = stats.t.interval(0.95, 4, loc=values.mean() + 0.5, scale=stats.sem(values))
        assert (row["low"], row["high"]) == pytest.approx(interval)
        assert (row["seeds"], row["seconds"]) == (5, 2.0)
    gaps = finals["independent"] - finals["loom"]
    expected = stats.t.interval(0.95, 4, loc=gaps.mean(), scale=stats.sem(gaps))
    assert (vanilla["behind_low"], vanilla["behind_high"]) == pytest.approx(expected)
    assert vanilla["behind"] == pytest.approx(gaps.mean())
    assert (best["behind"], best["behind_low"], best["behind_high"]) == (0, 0, 0)


def test_one_seed_has_no_interval():
    table = distances("loom", 0, (5.0, 3.0)).assign(seconds=1.0)
    (row,) = summarise_ablation(table).itertuples()
    assert row.mean == 3.5
    assert np.isnan([row.low, row.high]).all()
