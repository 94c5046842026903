"""Training speed: what runs take to be equally good, and that the saving's interval holds it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from dansm.analysis.saving import Curve, Pair, savings, speed_table
from dansm.io.tables import COMPARISON_COLUMNS

IMAGES = np.array([100.0, 200.0, 300.0, 400.0])


def curve(values, images=IMAGES, **options):
    return Curve(np.array(values, float), {"images_seen": images, "seconds": images}, **options)


def between(first, second, share):
    return np.exp((1 - share) * np.log(first) + share * np.log(second))


@pytest.mark.parametrize(
    ("values", "target", "expected"),
    [
        ([8, 4, 2, 1], 4, 200),  # exactly at a snapshot
        ([16, 4, 2, 1], 8, between(100, 200, 0.5)),  # halfway, in the logarithms
        ([16, 8, 2, 2], 2, 300),  # where a level begins
        ([16, 4, 9, 1], 6, 200),  # what rises is levelled: 6 is the geometric mean
        ([8, 4, 2, 1], 9, 100),
    ],
)
def test_what_a_curve_takes_is_read_from_its_monotone_fit(values, target, expected):
    taken, early = curve(values).takes(np.log(target) + 1e-12)
    assert taken["images_seen"] == pytest.approx(expected)
    assert early == (target == 9)


@pytest.mark.parametrize(
    ("run", "baseline", "expected"),
    [
        ([32, 8, 4, 2], [64, 32, 16, 8], 0.5),  # the baseline's 8 at half of its images
        ([64, 32, 16, 8], [32, 8, 4, 2], -1),  # the run's 8 at twice of its baseline's
        ([64, 32, 16, 8], [64, 32, 16, 8], 0),
    ],
)
def test_runs_are_compared_at_the_best_quality_that_both_reach(run, baseline, expected):
    found = savings([Pair.of(curve(run), curve(baseline))])
    assert found["saving_percent"] == pytest.approx(100 * expected)
    assert np.isnan([found["saving_low"], found["saving_high"]]).all()


@pytest.mark.parametrize(("ratio", "snapshots"), [(1, 5), (0.65, 5), (0.4, 12)])
def test_intervals_hold_the_truth_in_95_percent_of_studies_without_bias(ratio, snapshots):
    # Curves fall as a power of images, as these do; seeds differ, and so do sets of images.
    rng = np.random.default_rng(0)
    images = np.geomspace(64_000 / snapshots, 64_000, snapshots)
    held, logs = 0, []
    for _ in range(2000):
        pairs = []
        for _ in range(5):
            run, baseline = (
                np.exp(-0.9 * np.log(images / scale) + rng.normal(0, 0.05))
                * np.exp(rng.normal(0, 0.03, snapshots))
                for scale in (ratio, 1)
            )
            pairs.append(Pair.of(curve(run, images), curve(baseline, images)))
        found = savings(pairs)
        held += found["saving_low"] <= 100 * (1 - ratio) <= found["saving_high"]
        logs.append(np.log1p(-found["saving_percent"] / 100))
    assert held / 2000 == pytest.approx(0.95, abs=0.02)
    assert np.exp(np.mean(logs)) == pytest.approx(ratio, abs=0.01)


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


def test_savings_compare_each_seed_with_its_own_baseline():
    table = speed_table(
        curves(
            {
                ("vanilla", 0, 0): [64, 32, 16, 8],
                ("vanilla", 0, 1): [64, 32, 16, 4],
                ("dansm", 10, 0): [32, 8, 4, 2],  # reaches 8 at 200: half of the images
                ("dansm", 10, 1): [32, 16, 4, 2],  # reaches 4 at 300: three quarters
            }
        )
    )
    row = table[table["match_size"] == 10].iloc[0]
    assert (row["seeds"], row["seeds_at_least"], row["seeds_at_most"]) == (2, 0, 0)
    logs = np.log([200 / 400, 300 / 400])
    assert row["saving_percent"] == pytest.approx(100 * (1 - np.exp(logs.mean())))
    interval = ttest_1samp(logs, 0).confidence_interval(0.95)
    assert row["saving_low"] == pytest.approx(100 * (1 - np.exp(interval.high)))
    assert row["saving_high"] == pytest.approx(100 * (1 - np.exp(interval.low)))
    taken = row[["images_to_reach", "baseline_images_to_reach"]].astype(float)
    np.testing.assert_allclose(taken, [np.sqrt(200 * 300), 400])
    # After 5 and 7 seconds, of vanilla's 4.
    np.testing.assert_allclose(row["seconds_saving_percent"], 100 * (1 - np.sqrt(5 * 7) / 4))
    assert set(table["steps"]) == {3}


def test_a_run_that_ends_worse_saves_less_than_nothing():
    runs = {("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [128, 64, 32, 16]}
    row = speed_table(curves(runs)).set_index("run").loc["dansm"]
    assert row["saving_percent"] == pytest.approx(100 * (1 - 400 / 300))


def test_seeds_of_the_baseline_compared_with_each_other_are_the_null():
    values = {0: [64, 32, 16, 8], 1: [32, 16, 8, 4], 2: [64, 32, 16, 8]}
    table = speed_table(curves({("vanilla", 0, seed): found for seed, found in values.items()}))
    row = table.iloc[0]
    logs = np.log([400 / 300, 300 / 400, 1])  # seed 0 beside 1, 1 beside 2, 2 beside 0
    assert row["seeds"] == 3
    assert row["saving_percent"] == pytest.approx(0, abs=1e-9)
    interval = ttest_1samp(logs, 0).confidence_interval(0.95)
    assert row["saving_high"] == pytest.approx(100 * (1 - np.exp(interval.low)))


@pytest.mark.parametrize("better", ["run", "baseline"])
def test_what_is_reached_before_the_first_snapshot_leaves_the_interval_open(better):
    early, late = [7, 6, 5, 4], [64, 32, 16, 8]
    mine, its = (early, late) if better == "run" else (late, early)
    runs = {("vanilla", 0, seed): its for seed in range(3)}
    runs |= {("dansm", 10, seed): mine for seed in range(2)}
    runs |= {("dansm", 10, 2): [65, 33, 17, 9]}
    row = speed_table(curves(runs)).set_index("run").loc["dansm"]
    if better == "run":
        assert (row["seeds_at_least"], row["seeds_at_most"]) == (2, 0)
        assert row["saving_high"] == 100 and np.isfinite(row["saving_low"])
    else:
        assert (row["seeds_at_least"], row["seeds_at_most"]) == (0, 3)
        assert row["saving_low"] == -np.inf and row["saving_high"] < 100


def test_without_times_the_savings_in_time_are_empty():
    runs = {("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [32, 8, 4, 2]}
    table = speed_table(curves(runs).assign(seconds=pd.NA).astype(COMPARISON_COLUMNS))
    row = table.set_index("run").loc["dansm"]
    assert row["saving_percent"] == pytest.approx(50)
    assert pd.isna(row["seconds_saving_percent"])


def test_a_metric_that_grows_is_reached_from_below():
    runs = {("vanilla", 0, 0): [0.1, 0.2, 0.3, 0.4], ("dansm", 10, 0): [0.2, 0.4, 0.5, 0.6]}
    table = curves(runs)
    table = table[table["metric"] == "frechet_distance"].assign(metric="precision")
    row = speed_table(table).set_index("run").loc["dansm"]
    assert (row["metric"], row["saving_percent"]) == ("precision", pytest.approx(50))


def test_each_process_has_a_baseline_and_runs_without_one_no_saving():
    flow = curves({("vanilla", 0, 0): [64, 32, 16, 8], ("dansm", 10, 0): [32, 8, 4, 2]})
    names = {"vanilla": "ddpm", "dansm": "ddpm_dansm"}
    diffusion = flow.assign(
        process="diffusion", run=flow["run"].map(names), baseline=flow["baseline"].map(names)
    )
    table = speed_table(pd.concat([flow, diffusion], ignore_index=True))
    # Baselines of one seed have no other to be compared with.
    baselines = {"dansm": "vanilla", "ddpm_dansm": "ddpm"}
    assert dict(zip(table["run"], table["baseline"], strict=True)) == baselines
    assert speed_table(flow.assign(baseline=pd.NA)).empty
