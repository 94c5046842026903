"""Claims: what is measured of them, recomputed here, and verdicts that never say too much."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy import stats

from dansm.analysis import claims as module
from dansm.analysis.claims import SUPPORTED, Against, measure_claims, verdict
from dansm.analysis.distances import summarise
from dansm.config import Claim, Measure
from dansm.errors import InputError
from dansm.io.tables import (
    CLAIM_COLUMNS,
    COMPARISON_COLUMNS,
    CROSSING_COLUMNS,
    MATCHING_SHARE_COLUMNS,
    PATH_COLUMNS,
    REPRODUCIBILITY_COLUMNS,
    SPEED_COLUMNS,
    SUMMARY_COLUMNS,
    read_table,
    write_table,
)
from dansm.metrics.intervals import crossed_interval

EXTRACTOR = "classifier"

FLOW = {"sampler": "euler", "steps": 3}
RATIO = {"kind": "distance_ratio", **FLOW, "run": "dansm_100", "than": "vanilla"}
SAVING = {"kind": "saving", **FLOW, "run": "dansm_100"}
SHARE = {"kind": "matching_share", "match_size": 10, "how": "inline"}
SHORTER = {"kind": "path_ratio", "quantity": "path_length", "pairs": "matched", "match_size": 10}
CROSSING = {"kind": "crossing_ratio", "pairs": "preferable"}


def claim(measure, direction="below", threshold=1.0, name="one"):
    return Claim(
        name=name,
        text="A statement",
        source="ours",
        measure=TypeAdapter(Measure).validate_python(measure),
        direction=direction,
        threshold=threshold,
    )


def judge(one, sources, extractor, reference="held_out"):
    """Judge a claim by itself."""
    return module.judge([one], sources, Against(extractor, reference))[0]


def interval(values):
    """Mean and Student's interval, by scipy."""
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    return [np.mean(values), found.low, found.high]


@pytest.fixture
def write(tmp_path):
    """Write rows as a table of some columns; what a row leaves out is empty."""

    def make(columns, rows, name="table.csv"):
        write_table(tmp_path / name, rows, columns)
        return [tmp_path / name]

    return make


def distance(run, match_size, seed, value, **changes):
    return {
        "process": "rectified_flow",
        "sampler": "euler",
        "steps": 3,
        "run": run,
        "match_size": match_size,
        "seed": seed,
        "images_seen": 80,
        "image_set": 0,
        "metric": "frechet_distance",
        "feature_extractor": EXTRACTOR,
        "reference": "held_out",
        "value": value,
        **changes,
    }


def summary(write, rows):
    """Write the summary of distances."""
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)
    return write(SUMMARY_COLUMNS, summarise(table))


def found(row):
    return [row["value"], row["low"], row["high"]]


def test_what_is_remembered_is_compared_seed_by_seed_in_the_space_that_is_named(write):
    """Whichever real images distances are to, since both parts are compared."""
    rng = np.random.default_rng(0)
    shares = {"vanilla": rng.uniform(0.5, 0.55, 4), "dansm_100": rng.uniform(0.5, 0.55, 4)}
    about = {"metric": "nearer_to_training", "reference": None}
    rows = [
        distance(run, 0, seed, value + shift, feature_extractor=space, **about)
        for run, values in shares.items()
        for seed, value in enumerate(values)
        for space, shift in (("pixels", 0.0), (EXTRACTOR, 0.3))
    ]
    rows.append({"process": "real_held_out", "feature_extractor": "pixels", "value": 0.5, **about})
    measure = RATIO | {"metric": "nearer_to_training", "features": "pixels"}
    for reference in ("training", "held_out"):
        row = judge(
            claim(measure, threshold=1.2), {"summary": summary(write, rows)}, EXTRACTOR, reference
        )
        expected = np.exp(interval(np.log(shares["dansm_100"] / shares["vanilla"])))
        assert found(row) == pytest.approx(expected, rel=1e-8)
        assert row["verdict"] == SUPPORTED and row["reference"] is None
        assert "Share nearer to training images, pixels, euler, 3 steps" in row["measure"]


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (1.1, 2.0, "above", "supported"),
        (1.1, 2.0, "below", "not supported"),
        (0.1, 0.9, "below", "supported"),
        (0.1, 0.9, "above", "not supported"),
        (0.9, 1.1, "above", "undecided"),
        (0.9, 1.1, "below", "undecided"),
        (1.0, 2.0, "above", "undecided"),  # it touches the threshold
        (0.5, 1.0, "below", "undecided"),
        (1.0, 1.0, "above", "undecided"),
        (2.0, np.inf, "above", "supported"),  # a bound is enough on the open side
        (0.5, np.inf, "above", "undecided"),
        (-np.inf, 0.5, "below", "supported"),
    ],
)
def test_only_a_whole_interval_on_one_side_decides(low, high, direction, expected):
    assert verdict(low, high, direction, 1.0)[0] == expected


def test_distances_are_compared_seed_by_seed_at_the_last_snapshot(write):
    vanilla, greedy = np.array([8.0, 20.0, 11.0]), np.array([6.0, 16.0, 8.0])
    rows = []
    for seed in range(3):
        for name, size, values in (("vanilla", 0, vanilla), ("dansm_100", 100, greedy)):
            # Two sets of images, around the value.
            for k, shift in enumerate((-1, 1)):
                rows.append(distance(name, size, seed, values[seed] + shift, image_set=k))
            rows.append(distance(name, size, seed, 1e6, images_seen=40))
            rows.append(distance(name, size, seed, 1e6, feature_extractor="inception_clean"))
            rows.append(distance(name, size, seed, 1e6, reference="training"))
            rows.append(distance(name, size, seed, 1e6, metric="kernel_distance"))
    for k in range(2):  # without a vanilla run
        rows.append(distance("dansm_100", 100, 3, 1e-6, image_set=k))
    row = judge(claim(RATIO), {"summary": summary(write, rows)}, EXTRACTOR)
    shifts = np.array([-1, 1])
    logs = np.log((greedy[:, None] + shifts) / (vanilla[:, None] + shifts))
    mean, low, high, degrees = crossed_interval(logs)
    assert found(row) == pytest.approx(np.exp([mean, low, high]))
    assert row["corrected_low"] == pytest.approx(np.exp(low))  # it is alone
    sources = {"summary": summary(write, rows)}
    together = module.judge([claim(RATIO)] * 3, sources, Against(EXTRACTOR, "held_out"))[0]
    wider = stats.t.ppf(1 - 0.025 / 3, degrees) / stats.t.ppf(0.975, degrees)
    assert together["corrected_low"] == pytest.approx(np.exp(mean - (mean - low) * wider))
    assert row["n"] == 3
    assert "over 3 seeds and 2 sets of images" in row["why"]


def test_runs_that_are_not_there_are_named(write):
    rows = [distance("dansm_100", 100, 0, 4.0), distance("vanilla", 0, 1, 8.0)]
    sources = {"summary": summary(write, rows)}
    assert judge(claim(RATIO), sources, EXTRACTOR)["why"] == "no seed of both dansm_100 and vanilla"
    assert judge(claim(RATIO | {"than": "loom"}), sources, EXTRACTOR)["why"] == "no value of loom"


def test_any_metric_and_any_sampler_can_carry_a_claim(write):
    values = {"dansm_100": [0.6, 0.66, 0.7], "vanilla": [0.4, 0.5, 0.5]}
    rows = [
        distance(run, 0, seed, value, metric="precision", sampler="rk45", steps=None)
        for run, of_run in values.items()
        for seed, value in enumerate(of_run)
    ]
    rows += [distance("vanilla", 0, 0, 1e6), distance("dansm_100", 0, 0, 1.0)]
    sources = {"summary": summary(write, rows)}
    precision = RATIO | {"metric": "precision", "sampler": "rk45", "steps": None}
    row = judge(claim(precision, "above"), sources, EXTRACTOR)
    assert found(row) == pytest.approx(np.exp(interval(np.log([0.6 / 0.4, 0.66 / 0.5, 0.7 / 0.5]))))
    assert row["measure"] == "value of dansm_100 / of vanilla (Precision, rk45)"
    rows[0]["value"] = 0.0
    sources = {"summary": summary(write, rows)}
    why = judge(claim(precision, "above"), sources, EXTRACTOR)["why"]
    assert why == "values that are not positive have no ratios"


def test_the_factor_by_match_size_is_the_slope_within_seeds(write):
    factors = {0: 0.5, 1: 0.8}
    rows = [
        distance(f"dansm_{size}", size, seed, 9 * factor ** np.log10(size))
        for seed, factor in factors.items()
        for size in (100, 1000, 10_000)
    ]
    rows += [distance("vanilla", 0, 0, 1e6), distance("hungarian_500", 500, 0, 1e6)]
    sizes = ["dansm_100", "dansm_1000", "dansm_10000"]
    measure = {"kind": "distance_factor", **FLOW, "runs": sizes}
    row = judge(claim(measure), {"summary": summary(write, rows)}, EXTRACTOR)
    assert found(row) == pytest.approx(np.exp(interval(np.log([0.5, 0.8]))))
    assert row["verdict"] == "undecided"  # two seeds have a wide interval


SPEED = {
    **FLOW,
    "run": "dansm_100",
    "baseline": "vanilla",
    "metric": "frechet_distance",
    "feature_extractor": EXTRACTOR,
    "reference": "held_out",
    "seeds": 3,
    "seeds_at_least": 0,
    "seeds_at_most": 0,
    "saving_percent": 50.0,
    "saving_low": 29.0,
    "saving_high": 65.0,
    "seconds_saving_percent": 20.0,
    "seconds_saving_low": 15.0,
    "seconds_saving_high": 25.0,
}


def test_savings_are_judged_by_their_interval(write):
    sources = {
        "speed": write(
            SPEED_COLUMNS,
            [
                SPEED,
                SPEED | {"feature_extractor": "inception_clean", "saving_percent": 1},
                SPEED | {"reference": "training", "saving_percent": 1},
                SPEED | {"metric": "kernel_distance", "saving_percent": 1},
            ],
        )
    }
    row = judge(claim(SAVING, "above", 30), sources, EXTRACTOR)
    assert found(row) == [50, 29, 65]
    assert row["verdict"] == "undecided"
    assert judge(claim(SAVING, "above", 25), sources, EXTRACTOR)["verdict"] == "supported"
    seconds = judge(claim(SAVING | {"of": "seconds"}, "above", 30), sources, EXTRACTOR)
    assert found(seconds) == [20, 15, 25]
    assert seconds["verdict"] == "not supported"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"saving_percent": None}, "has no images"),
        ({"run": "loom"}, "no curve of dansm_100 beside its baseline"),
        ({"seeds": 1, "saving_low": None, "saving_high": None}, "1 seed; a verdict on training"),
        ({"seeds": 2}, "2 seeds; a verdict on training takes 3"),
    ],
)
def test_savings_that_cannot_be_judged(write, changes, why):
    sources = {"speed": write(SPEED_COLUMNS, [SPEED | changes])}
    row = judge(claim(SAVING, "above", 0), sources, EXTRACTOR)
    assert row["verdict"] == "undecided"
    assert why in row["why"]


def test_times_are_judged_only_where_nothing_else_was_done(write):
    disturbed = SPEED | {"doubt": "other processes kept up to 1.0 cores busy meanwhile"}
    sources = {"speed": write(SPEED_COLUMNS, [disturbed])}
    row = judge(claim(SAVING | {"of": "seconds"}, "above", 30), sources, EXTRACTOR)
    assert (row["verdict"], row["why"]) == ("undecided", disturbed["doubt"])
    assert found(row) == [20, 15, 25] and "corrected_low" not in row
    assert judge(claim(SAVING, "above", 25), sources, EXTRACTOR)["verdict"] == "supported"


def test_a_bound_below_the_threshold_refutes_nothing(write):
    bound = {"saving_percent": 80.0, "saving_low": 80.0, "saving_high": 100.0, "seeds_at_least": 3}
    sources = {"speed": write(SPEED_COLUMNS, [SPEED | bound])}
    row = judge(claim(SAVING, "above", 85), sources, EXTRACTOR)
    assert row["verdict"] == "undecided"
    assert judge(claim(SAVING, "above", 79), sources, EXTRACTOR)["verdict"] == "supported"
    assert "at least so much in 3" in row["why"]


def test_claims_of_a_table_are_judged_together(write):
    sources = {"speed": write(SPEED_COLUMNS, [SPEED])}
    alone = judge(claim(SAVING, "above", 25), sources, EXTRACTOR)
    assert (alone["corrected_low"], alone["corrected_high"]) == pytest.approx((29, 65))
    missing = claim(RATIO, name="not_counted")
    rows = module.judge(
        [claim(SAVING, "above", 25)] * 4 + [missing], sources, Against(EXTRACTOR, "held_out")
    )
    # By hand: the interval is Student's, with two degrees of freedom, of log(1 - saving).
    logs, wider = np.log([0.5, 0.71]), stats.t.ppf(1 - 0.05 / 8, 2) / stats.t.ppf(0.975, 2)
    expected = 100 * (1 - np.exp(logs[0] + (logs[1] - logs[0]) * wider))
    assert [row["low"] for row in rows[:4]] == [29] * 4
    assert [row["corrected_low"] for row in rows[:4]] == pytest.approx([expected] * 4)
    assert rows[0]["verdict"] == "undecided"
    assert "for 4 claims together" in rows[0]["why"]


def test_shares_of_a_step_are_taken_within_rounds(write):
    steps, matches = np.array([50.0, 100.0, 40.0]), np.array([1.0, 3.0, 1.0])
    rows = [
        {"match_size": 10, "round": k, "step_ms": s, "match_ms": m, "ahead_step_ms": 1.5 * s}
        | {"device": "cpu", "processor": "Toy 1", "busy_others": 0.05}
        for k, (s, m) in enumerate(zip(steps, matches, strict=True))
    ]
    sources = {"matching_share": write(MATCHING_SHARE_COLUMNS, rows)}
    row = judge(claim(SHARE, threshold=5), sources, EXTRACTOR)
    assert found(row) == pytest.approx(interval(100 * matches / steps))
    assert (row["n"], row["verdict"]) == (3, "supported")
    assert "Toy 1" in row["why"]
    ahead = judge(claim(SHARE | {"how": "ahead"}, threshold=5), sources, EXTRACTOR)
    assert ahead["value"] == pytest.approx(50)
    assert ahead["verdict"] == "not supported"
    for busy, why in ((0.4, "kept up to 0.4 cores busy"), (None, "was not recorded")):
        rows[0]["busy_others"] = busy
        disturbed = {"matching_share": write(MATCHING_SHARE_COLUMNS, rows, "other.csv")}
        row = judge(claim(SHARE, threshold=5), disturbed, EXTRACTOR)
        assert row["verdict"] == "undecided" and why in row["why"]
    other = judge(claim(SHARE | {"match_size": 99}), sources, EXTRACTOR)
    assert (other["verdict"], other["why"]) == ("undecided", "match size 99 was not timed")


def path_rows(kind, match_size, values, quantity="path_length", pairs=64):
    """Two draws of each model, around its value."""
    return [
        {"kind": kind, "match_size": match_size, "seed": k, "draw": 2 * k + of_model}
        | {"pairs": pairs, "quantity": quantity, "value": value * (0.9 + 0.2 * of_model)}
        for k, value in enumerate(values)
        for of_model in (0, 1)
    ]


def test_paths_are_compared_with_random_ones_model_by_model(write):
    random, matched = np.array([10.0, 12.0, 11.0]), np.array([8.0, 9.5, 9.0])
    rows = path_rows("random", 0, random) + path_rows("matched", 10, matched)
    rows += path_rows("matched", 99, [1.0, 1.0, 1.0])
    rows += path_rows("matched", 10, [50.0] * 3, "inter_path_average")
    sources = {"paths": write(PATH_COLUMNS, rows)}
    row = judge(claim(SHORTER), sources, EXTRACTOR)
    assert found(row) == pytest.approx(np.exp(interval(np.log(matched / random))))
    assert row["verdict"] == "supported"
    preferable = SHORTER | {"pairs": "preferable", "match_size": 0}
    assert judge(claim(preferable), sources, EXTRACTOR)["why"] == "no preferable pairs"


def test_pairs_of_fewer_than_three_models_decide_nothing(write):
    rows = path_rows("random", 0, [10.0, 12.0]) + path_rows("matched", 10, [8.0, 9.6])
    row = judge(claim(SHORTER), {"paths": write(PATH_COLUMNS, rows)}, EXTRACTOR)
    assert (row["n"], row["verdict"]) == (2, "undecided")
    assert row["why"] == "2 seeds; a verdict on training takes 3"
    stored = [row | {"seed": None} for row in rows]
    row = judge(claim(SHORTER), {"paths": write(PATH_COLUMNS, stored)}, EXTRACTOR)
    assert row["why"] == "stored samples: no model made these pairs"


def test_nearest_noises_are_counted_against_chance_in_the_largest_batches(write):
    shares = [0.2, 0.3, 0.25]
    rows = path_rows("preferable", 0, shares, "nearest_share", 200)
    rows += path_rows("preferable", 0, [0.9] * 3, "nearest_share", 10)
    rows += path_rows("random", 0, [0.005] * 3, "nearest_share", 200)
    sources = {"paths": write(PATH_COLUMNS, rows)}
    row = judge(claim({"kind": "nearest_share"}, "above"), sources, EXTRACTOR)
    assert found(row) == pytest.approx(interval(200 * np.array(shares)))
    assert row["verdict"] == "supported"


def test_crossings_are_compared_by_differences_of_models(write):
    random, preferable = np.array([40, 50, 45, 60, 50, 52]), np.array([10, 0, 12, 20, 8, 9])
    rows = [
        {"kind": kind, "match_size": 0, "seed": k // 2, "draw": k, "crossings": count}
        for kind, counts in (("random", random), ("preferable", preferable))
        for k, count in enumerate(counts)
    ]
    sources = {"crossings": write(CROSSING_COLUMNS, rows)}
    row = judge(claim(CROSSING), sources, EXTRACTOR)
    random, preferable = random.reshape(3, 2).mean(1), preferable.reshape(3, 2).mean(1)
    expected = 1 + np.array(interval((preferable - random) / random.mean()))
    assert found(row) == pytest.approx(expected)
    assert row["value"] == pytest.approx(preferable.mean() / random.mean())
    assert row["verdict"] == "supported"


def test_similarities_must_be_apart_from_shuffled_ones_for_all_models(write):
    good = dict(similarity=0.8, low=0.7, high=0.9, shuffled=0.1, shuffled_low=0, shuffled_high=0.2)
    rows = [{"images": 64, **good}]
    measure = {"kind": "similarity_gain"}
    sources = {"reproducibility": write(REPRODUCIBILITY_COLUMNS, rows)}
    row = judge(claim(measure, "above", 0), sources, EXTRACTOR)
    assert found(row) == pytest.approx([0.7, 0.5, 0.9])
    assert (row["n"], row["verdict"]) == (64, "supported")
    rows.append({"images": 32, **good, "similarity": 0.25, "low": 0.15, "high": 0.35})
    sources = {"reproducibility": write(REPRODUCIBILITY_COLUMNS, rows)}
    row = judge(claim(measure, "above", 0), sources, EXTRACTOR)
    assert found(row) == pytest.approx([(0.7 + 0.15) / 2, -0.05, 0.9])
    assert (row["n"], row["verdict"]) == (32, "undecided")


@pytest.mark.parametrize("measure", [RATIO, SAVING, SHARE, SHORTER, CROSSING])
@pytest.mark.parametrize("direction", ["above", "below"])
def test_missing_results_leave_a_claim_undecided(tmp_path, measure, direction):
    kinds = ("summary", "speed", "matching_share", "paths", "crossings")
    for sources in ({}, {kind: [tmp_path / "none.csv"] for kind in kinds}):
        row = judge(claim(measure, direction), sources, EXTRACTOR)
        assert row["verdict"] == "undecided"
        assert "no table" in row["why"] or "none.csv: found no file" in row["why"]


def test_a_damaged_result_is_an_error(tmp_path):
    (tmp_path / "speed.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"speed\.csv: expected columns.*found \['a', 'b'\]"):
        judge(claim(SAVING), {"speed": [tmp_path / "speed.csv"]}, EXTRACTOR)


def test_the_table_has_a_row_for_each_claim(write, tmp_path):
    sources = {"speed": write(SPEED_COLUMNS, [SPEED])}
    claims = [claim(SAVING, "above", 25, "first"), claim(RATIO, name="second")]
    path = tmp_path / "claims.csv"
    measure_claims(
        claims, sources, dataset="toy", extractor=EXTRACTOR, reference="held_out", path=path
    )
    table = read_table(path, CLAIM_COLUMNS)
    assert table["name"].tolist() == ["first", "second"]
    assert table["verdict"].tolist() == [SUPPORTED, "undecided"]
    assert set(table["dataset"]) == {"toy"}
    assert table["reference"].tolist() == ["held_out"] * 2
    said = "saving in images, %, of dansm_100 (Fréchet distance, euler, 3 steps)"
    assert table["measure"][0] == said
    assert table["value"].isna().tolist() == [False, True]
