"""Training speed: where a curve first reaches a target, and the saving that makes."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from dansm.analysis.speed import matching_shares, place_of, speed_table
from dansm.io.tables import COMPARISON_COLUMNS, SPEED_COLUMNS, read_table, write_table

IMAGES = np.array([100.0, 200.0, 300.0, 400.0])


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([8, 4, 2, 1], 4, 1),  # exactly at a snapshot
        ([16, 4, 2, 1], 8, 0.5),  # halfway between two snapshots in the logarithm
        ([8, 4, 5, 1], 4.5, np.log(8 / 4.5) / np.log(2)),  # the first crossing counts
        ([8, 4, 2, 1], 9, 0),  # below from the first snapshot on
        ([8, 4, 2, 1], 0.5, np.nan),  # never
    ],
)
def test_where_a_curve_reaches_a_target(values, target, expected):
    np.testing.assert_allclose(place_of(np.array(values, float), target), expected)


def curves(values_by_run):
    """Return a table from {(run, match_size, seed): values at IMAGES}.

    A vanilla run takes a second for 100 images, another one two seconds and one before.
    """
    rows = [
        {
            "dataset": "d",
            "process": "rectified_flow",
            "run": run,
            "coupling": "greedy" if match_size else "independent",
            "match_size": match_size,
            "seed": seed,
            "images_seen": int(images),
            "sampler": "euler",
            "steps": 3,
            "nfe": 3.0,
            "image_set": 0,
            "metric": "frechet_distance",
            "feature_extractor": "e",
            "n_samples": 10,
            "value": value,
            "seconds": images / 100 if run == "vanilla" else 1 + images / 50,
            "baseline": "vanilla",
        }
        for (run, match_size, seed), values in values_by_run.items()
        for images, value in zip(IMAGES, values, strict=True)
    ]
    # What must not enter: a metric and a sampler of one snapshot only, another set of images.
    rows += [rows[0] | {"metric": "kernel_distance", "value": 1e-9}]
    rows += [row | {"image_set": 1, "value": 1e-9} for row in rows[:4]]
    rows += [rows[3] | {"steps": 50, "value": 1e-9}]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)


def test_savings_compare_each_seed_with_its_own_vanilla_run():
    table = speed_table(
        curves(
            {
                ("vanilla", 0, 0): [64, 32, 16, 8],
                ("vanilla", 0, 1): [64, 32, 16, 4],
                ("dansm", 10, 0): [32, 8, 4, 2],  # reaches 8 at 200: half of the images saved
                ("dansm", 10, 1): [32, 16, 4, 2],  # reaches 4 at 300: a quarter saved
            }
        )
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["seeds"], row["seeds_reaching"], row["budget_images"]) == (2, 2, 400)
    np.testing.assert_allclose(row["target"], 6)
    np.testing.assert_allclose(row["images_to_reach"], 250)
    np.testing.assert_allclose(row["saving_percent"], 37.5)
    interval = ttest_1samp([50, 25], 0).confidence_interval(0.95)
    np.testing.assert_allclose(
        row[["saving_student_low", "saving_student_high"]].astype(float), interval
    )
    assert pd.isna(row["saving_low"])  # a bootstrap of two seeds says nothing
    # Reached at 200 and 300 images, so after 5 and 7 seconds, of vanilla's 4.
    np.testing.assert_allclose([row["budget_seconds"], row["seconds_to_reach"]], [4, 6])
    np.testing.assert_allclose(row["seconds_saving_percent"], (-25 - 75) / 2)
    vanilla = table[table["match_size"] == 0].iloc[0]
    np.testing.assert_allclose(vanilla["saving_percent"], 0, atol=1e-9)
    assert set(table["steps"]) == {3}


def test_a_seed_that_never_reaches_its_target_leaves_the_saving_open():
    table = speed_table(
        curves(
            {
                ("vanilla", 0, 0): [64, 32, 16, 8],
                ("vanilla", 0, 1): [64, 32, 16, 4],
                ("dansm", 10, 0): [32, 8, 4, 2],
                ("dansm", 10, 1): [32, 16, 9, 5],
            }
        )
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["seeds"], row["seeds_reaching"]) == (2, 1)
    names = ["images_to_reach", "saving_percent", "saving_student_low", "seconds_to_reach"]
    assert row[names].isna().all()


def test_a_curve_below_from_the_start_is_marked_as_an_upper_bound():
    table = speed_table(
        curves({("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [7, 6, 5, 4]})
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["images_to_reach"], row["seeds_at_first_snapshot"]) == (100, 1)
    assert pd.isna(row["saving_low"])


def test_from_three_seeds_on_there_is_a_bootstrap_interval_of_the_pairs(tmp_path):
    runs = {("vanilla", 0, seed): [64, 32, 16, 8] for seed in range(3)}
    reached = {0: [32, 8, 4, 2], 1: [32, 16, 8, 2], 2: [32, 8, 4, 2]}  # half, a quarter, half
    runs |= {("dansm", 10, seed): values for seed, values in reached.items()}
    write_table(tmp_path / "speed.csv", speed_table(curves(runs)), SPEED_COLUMNS)
    table = read_table(tmp_path / "speed.csv", SPEED_COLUMNS)
    assert set(table["dataset"]) == {"d"}
    row = table[table["run"] == "dansm"].iloc[0]
    means = [np.mean([a, b, c]) for a in (50, 25, 50) for b in (50, 25, 50) for c in (50, 25, 50)]
    expected = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    np.testing.assert_allclose([row["saving_low"], row["saving_high"]], expected)


def test_without_times_the_savings_in_time_are_empty():
    runs = {("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [32, 8, 4, 2]}
    row = speed_table(curves(runs).assign(seconds=pd.NA).astype(COMPARISON_COLUMNS)).iloc[0]
    assert row["saving_percent"] == pytest.approx(50)
    assert pd.isna(row["seconds_saving_percent"])


def test_a_metric_that_grows_is_reached_from_below():
    runs = {("vanilla", 0, 0): [0.1, 0.2, 0.3, 0.4], ("dansm", 10, 0): [0.2, 0.4, 0.5, 0.6]}
    table = curves(runs)
    table = table[table["metric"] == "frechet_distance"].assign(metric="precision")
    row = speed_table(table).set_index("run").loc["dansm"]
    assert (row["metric"], row["saving_percent"]) == ("precision", pytest.approx(50))
    assert place_of(np.array([0, 0.5]), 0.25, lower_is_better=False) == pytest.approx(0.5)


def test_each_process_has_a_baseline_and_runs_without_one_no_saving():
    flow = curves({("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [32, 8, 4, 2]})
    names = {"vanilla": "ddpm", "dansm": "ddpm_dansm"}
    diffusion = flow.assign(
        process="diffusion", run=flow["run"].map(names), baseline=flow["baseline"].map(names)
    )
    table = speed_table(pd.concat([flow, diffusion], ignore_index=True))
    assert dict(zip(table["run"], table["baseline"], strict=True)) == {
        "vanilla": "vanilla",
        "dansm": "vanilla",
        "ddpm": "ddpm",
        "ddpm_dansm": "ddpm",
    }
    assert speed_table(flow.assign(baseline=pd.NA)).empty


def test_shares_are_percent_of_the_rounds_own_step():
    table = pd.DataFrame({"step_ms": [10.0, 20], "match_ms": [1.0, 1], "ahead_step_ms": [11, 19]})
    shares = matching_shares(table)
    assert shares["inline"].tolist() == pytest.approx([10, 5])
    assert shares["ahead"].tolist() == pytest.approx([10, -5])
