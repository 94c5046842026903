"""Training speed: where a curve first reaches a target, and the saving that makes."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from dansm.evaluation.speed import images_to_reach, speed_table
from dansm.evaluation.table import COLUMNS

IMAGES = np.array([100.0, 200.0, 300.0, 400.0])


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([8, 4, 2, 1], 4, 200),  # exactly at a snapshot
        ([16, 4, 2, 1], 8, 150),  # halfway between two snapshots in the logarithm
        ([8, 4, 5, 1], 4.5, 100 + 100 * np.log(8 / 4.5) / np.log(2)),  # the first crossing counts
        ([8, 4, 2, 1], 9, 100),  # below from the first snapshot on
        ([8, 4, 2, 1], 0.5, np.nan),  # never
    ],
)
def test_images_to_reach(values, target, expected):
    found = images_to_reach(IMAGES, np.array(values, float), target)
    np.testing.assert_allclose(found, expected)


def curves(values_by_run):
    """Return a table from {(coupling, match_size, seed): values at IMAGES}."""
    rows = [
        {
            "dataset": "d",
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": match_size,
            "seed": seed,
            "images_seen": int(images),
            "sampler": "euler",
            "steps": 3,
            "nfe": 3.0,
            "seed_range": 0,
            "metric": "frechet_distance",
            "feature_extractor": "e",
            "n_samples": 10,
            "value": value,
        }
        for (coupling, match_size, seed), values in values_by_run.items()
        for images, value in zip(IMAGES, values, strict=True)
    ]
    # What must not enter: another metric, another seed range, a sampler of the last snapshot only.
    rows += [rows[0] | {"metric": "kernel_distance", "value": 1e-9}]
    rows += [row | {"seed_range": 1, "value": 1e-9} for row in rows[:4]]
    rows += [rows[3] | {"steps": 50, "value": 1e-9}]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def test_savings_compare_each_seed_with_its_own_vanilla_run():
    table = speed_table(
        curves(
            {
                ("independent", 0, 0): [64, 32, 16, 8],
                ("independent", 0, 1): [64, 32, 16, 4],
                ("greedy", 10, 0): [32, 8, 4, 2],  # reaches 8 at 200: half of the images saved
                ("greedy", 10, 1): [32, 16, 4, 2],  # reaches 4 at 300: a quarter saved
            }
        )
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["seeds"], row["seeds_reaching"], row["budget_images"]) == (2, 2, 400)
    np.testing.assert_allclose(row["target"], 6)
    np.testing.assert_allclose(row["images_to_reach"], 250)
    np.testing.assert_allclose(row["saving_percent"], 37.5)
    interval = ttest_1samp([50, 25], 0).confidence_interval(0.95)
    np.testing.assert_allclose([row["saving_low"], row["saving_high"]], interval)
    vanilla = table[table["match_size"] == 0].iloc[0]
    np.testing.assert_allclose(vanilla["saving_percent"], 0, atol=1e-9)
    assert set(table["steps"]) == {3}


def test_a_seed_that_never_reaches_its_target_leaves_the_saving_open():
    table = speed_table(
        curves(
            {
                ("independent", 0, 0): [64, 32, 16, 8],
                ("independent", 0, 1): [64, 32, 16, 4],
                ("greedy", 10, 0): [32, 8, 4, 2],
                ("greedy", 10, 1): [32, 16, 9, 5],
            }
        )
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["seeds"], row["seeds_reaching"]) == (2, 1)
    assert np.isnan(row[["images_to_reach", "saving_percent", "saving_low"]].astype(float)).all()


def test_a_curve_below_from_the_start_is_marked_as_an_upper_bound():
    table = speed_table(
        curves({("independent", 0, 0): [64, 32, 16, 8], ("greedy", 10, 0): [7, 6, 5, 4]})
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["images_to_reach"], row["seeds_at_first_snapshot"]) == (100, 1)
    assert np.isnan(row["saving_low"])
