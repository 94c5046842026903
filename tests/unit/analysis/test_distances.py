"""Compared runs: their times, baselines and FID, and intervals over seeds of what they reach."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from dansm.analysis.distances import collect_distances, fid_rows, seed_values, summarise
from dansm.couplings import fit_potentials
from dansm.errors import InputError
from dansm.io.files import write_json
from dansm.io.tables import (
    COMPARISON_COLUMNS,
    DISTANCE_COLUMNS,
    SUMMARY_COLUMNS,
    compared_with,
    read_table,
    run_columns,
    write_table,
)
from dansm.metrics.intervals import crossed_interval

from ..factories import make_settings

MEASURED = {
    "sampler": "euler",
    "steps": 3,
    "nfe": 3.0,
    "image_set": 0,
    "metric": "frechet_distance",
    "feature_extractor": "classifier",
    "reference": "training",
    "n_samples": 10,
}


def write_run(folder, name, seconds, images=(40, 80), **changes):
    folder.mkdir(parents=True)
    settings = make_settings(**changes)
    snapshots = [{"file": "f", "images_seen": 40, "sha256": ""}]
    run = {"name": name, "settings": settings.plain(), "snapshots": snapshots, "model_sha256": ""}
    run["hardware"] = {"device": "cpu", "processor": "Toy 1", "threads": 2}
    write_json(folder / "run.json", run)
    row = run_columns(name, settings) | MEASURED
    of_snapshots = [row | {"images_seen": 40, "value": 5.0}, row | {"images_seen": 80, "value": 3}]
    write_table(folder / "distances.csv", of_snapshots, DISTANCE_COLUMNS)
    lines = [
        json.dumps({"images_seen": seen, "seconds": s, "busy_others": s / 10})
        for seen, s in zip(images, seconds, strict=True)
    ]
    (folder / "stats.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def potentials(tmp_path):
    path = tmp_path / "potentials.npz"
    fitted = fit_potentials(torch.rand(9, 1, 4, 4), seed=0, steps=2, batch_size=4, progress=False)
    fitted.save(path)
    return path, fitted.seconds


@pytest.fixture
def collect(tmp_path):
    def make(folders, others=(), **changes):
        options = {"dataset": "toy", "baselines": {"rectified_flow": "vanilla"}} | changes
        collect_distances(folders, others, tmp_path / "distances.csv", **options)
        return read_table(tmp_path / "distances.csv", COMPARISON_COLUMNS)

    return make


def test_each_snapshot_has_its_time_and_fitting_is_part_of_it(tmp_path, potentials, collect):
    path, fitting = potentials
    folders = [
        write_run(tmp_path / "a", "vanilla", (1.5, 3.5)),
        write_run(
            tmp_path / "b",
            "ours",
            (2.0, 4.0),
            coupling={"semidiscrete": {"metric": "covariance"}},
        ),
    ]
    table = collect(folders, potentials={"semidiscrete-covariance": path})
    assert fitting > 0
    found = table.groupby(["run", "images_seen"])["seconds"].unique()
    assert found["vanilla", 40] == [1.5]
    assert found["vanilla", 80] == [3.5]
    assert found["ours", 80] == [pytest.approx(4.0 + fitting)]
    vanilla, ours = (table[table["run"] == run] for run in ("vanilla", "ours"))
    assert vanilla["busy_others"].tolist() == [0.15, 0.35]
    assert ours["busy_others"].isna().all()  # nobody looked while potentials were fitted
    assert set(table["device"]) == {"Toy 1"} and set(table["threads"]) == {2}
    assert table["options"].dropna().unique().tolist() == ["metric=covariance"]
    assert table["unequal"].isna().all()
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"potentials\.npz: expected an npz file of potentials"):
        collect(folders, potentials={"semidiscrete-covariance": path})


def test_a_snapshot_without_a_time_is_named(tmp_path, collect):
    folder = write_run(tmp_path / "a", "vanilla", (1.5, 3.5), images=(40, 72))
    with pytest.raises(InputError, match=r"stats\.jsonl: expected a line.*images_seen \[80\]"):
        collect([folder])
    (folder / "stats.jsonl").write_text('{"images_seen": 40}\n')
    with pytest.raises(InputError, match=r"stats\.jsonl: expected the statistics.*seconds"):
        collect([folder])
    assert not (tmp_path / "distances.csv").exists()


def test_each_row_has_its_process_baseline_and_what_is_unequal(tmp_path, collect):
    folders = [
        write_run(tmp_path / "a", "vanilla", (1, 2)),
        write_run(tmp_path / "b", "dansm", (1, 2), coupling={"greedy": {"match_size": 10}}),
        write_run(tmp_path / "c", "ddpm", (1, 2), process="diffusion"),
    ]
    halves = MEASURED | {"dataset": "pixels", "process": "real_halves", "value": 0.5}
    write_table(tmp_path / "floor.csv", [halves], DISTANCE_COLUMNS)
    baselines = {"rectified_flow": "vanilla", "diffusion": "ddpm"}
    options = {"baselines": baselines, "unequal": ["recipe", "sampling"], "dataset": "latent"}
    table = collect(folders, [tmp_path / "floor.csv"], **options)
    before = (tmp_path / "distances.csv").read_bytes()
    collect(folders[::-1], [tmp_path / "floor.csv"], **options)
    assert (tmp_path / "distances.csv").read_bytes() == before
    assert set(table["dataset"]) == {"latent"}
    assert set(table["unequal"]) == {"recipe, sampling"}
    found = dict(zip(table["run"].dropna(), table["baseline"].dropna(), strict=True))
    assert found == {"vanilla": "vanilla", "dansm": "vanilla", "ddpm": "ddpm"}
    (floor,) = table[table["process"] == "real_halves"].to_dict("records")
    assert floor["value"] == 0.5
    assert pd.isna([floor["run"], floor["baseline"]]).all()


def distances(run, seed, values, images=(40, 80), **changes):
    """A row per snapshot and metric; the last snapshot has two sets of images."""
    rows = [
        run_columns(run, make_settings(seed=seed))
        | MEASURED
        | {
            "images_seen": seen,
            "image_set": image_set,
            "metric": metric,
            "value": value + (100 if metric == "kernel_distance" else image_set),
            "seconds": float(seed),
            "baseline": "vanilla",
        }
        | changes
        for seen, value in zip(images, values, strict=True)
        for image_set in ((0, 1) if seen == images[-1] else (0,))
        for metric in ("frechet_distance", "kernel_distance")
    ]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)


@pytest.mark.parametrize(
    ("extractor", "is_there"),
    [
        ("inception_clean", True),
        ("random_inception_legacy_tensorflow", True),
        ("classifier", False),
    ],
)
def test_only_inceptions_frechet_distance_is_a_fid(extractor, is_there):
    table = distances("vanilla", 0, (2, 1), feature_extractor=extractor)
    table = pd.concat([table, distances("vanilla", 0, (2, 1))], ignore_index=True)
    if not is_there:
        with pytest.raises(InputError, match=r"FID: .*found those over \['classifier'"):
            fid_rows(table)
        return
    found = fid_rows(table)
    assert len(found) == 3
    assert set(found["metric"]) == {"frechet_distance"}
    assert set(found["feature_extractor"]) == {extractor}


def test_intervals_are_over_seeds_and_differences_within_them(tmp_path):
    rng = np.random.default_rng(0)
    common = rng.normal(10, 3, 5)
    finals = {"vanilla": common + 2 + rng.normal(0, 0.1, 5), "loom": common}
    table = pd.concat(
        distances(run, seed, (50.0, value))
        for run, values in finals.items()
        for seed, value in enumerate(values)
    )
    write_table(tmp_path / "summary.csv", summarise(table), SUMMARY_COLUMNS)
    summary = read_table(tmp_path / "summary.csv", SUMMARY_COLUMNS)
    assert len(summary) == 2 * 2
    summary = summary[summary["metric"] == "frechet_distance"]
    assert summary["run"].tolist() == ["loom", "vanilla"]
    best, vanilla = (row for _, row in summary.iterrows())
    # The last snapshot's two sets of images differ by 1.
    for row, values in ((best, finals["loom"]), (vanilla, finals["vanilla"])):
        _, low, high, _ = crossed_interval(values[:, None] + [0, 1])
        expected = (values.mean() + 0.5, low, high)
        assert (row["mean"], row["low"], row["high"]) == pytest.approx(expected)
        assert (row["seeds"], row["image_sets"], row["n_samples"]) == (5, 2, 10)
        assert row["how"] == "seeds × image sets, Satterthwaite"
        assert seed_values(row["by_seed"]).to_numpy() == pytest.approx(values[:, None] + [0, 1])
        assert (row["seconds"], row["coupling"], row["nfe"]) == (2.0, "independent", 3)
        assert (row["images_seen"], row["reference"]) == (80, "training")
    gaps = (finals["vanilla"] - finals["loom"])[:, None] + [0, 0]
    expected = crossed_interval(gaps)
    assert vanilla["behind"] == pytest.approx(gaps.mean())
    assert best["behind"] == best["behind_low"] == 0
    # Of two, Tukey's interval is Student's, with whole degrees of freedom; of ratios here, whose
    # ends are shares of the best.
    logs = np.log((finals["vanilla"][:, None] + [0, 1]) / (finals["loom"][:, None] + [0, 1]))
    _, low, high, degrees = crossed_interval(logs)
    wider = stats.t.ppf(0.975, int(degrees)) / stats.t.ppf(0.975, degrees)
    ends = np.exp(logs.mean() + np.array([-1, 1]) * (high - low) / 2 * wider) - 1
    found = np.array([vanilla["behind_low"], vanilla["behind_high"]], float)
    assert found == pytest.approx((finals["loom"].mean() + 0.5) * ends, rel=1e-3)
    assert vanilla["difference"] == 0
    assert best["difference"] == pytest.approx(-gaps.mean())
    assert best["difference_high"] == pytest.approx(-expected.low)
    assert best["difference_low"] == pytest.approx(-expected.high)


def test_the_best_precision_is_the_highest():
    table = pd.concat(distances(run, 0, (0, v)) for run, v in (("vanilla", 0.5), ("loom", 0.7)))
    table = table[table["metric"] == "frechet_distance"].assign(metric="precision")
    summary = summarise(table)
    assert summary["run"].tolist() == ["loom", "vanilla"]
    assert summary["behind"].tolist() == pytest.approx([0, 0.2])
    assert summary["difference"].tolist() == pytest.approx([0.2, 0])


def test_each_reference_is_summarised_by_itself_and_a_score_has_none():
    table = pd.concat(distances(run, 0, (0, v)) for run, v in (("vanilla", 5.0), ("loom", 6.0)))
    frechet = table[table["metric"] == "frechet_distance"]
    worse = frechet["run"] == "vanilla"
    held_out = frechet.assign(reference="held_out", value=frechet["value"] + 3.0 * worse)
    scores = frechet.assign(reference=None, metric="classifier_score")
    summary = summarise(pd.concat([frechet, held_out, scores], ignore_index=True))
    found = summary.fillna({"reference": ""}).set_index(["reference", "run"])["mean"]
    assert found["training"].to_dict() == {"vanilla": 5.5, "loom": 6.5}
    assert found["held_out"].to_dict() == {"loom": 6.5, "vanilla": 8.5}
    assert found[""].to_dict() == {"loom": 6.5, "vanilla": 5.5}
    assert found["training"].index[0] == "vanilla" and found["held_out"].index[0] == "loom"
    assert compared_with(summary, "held_out")["mean"].tolist() == [6.5, 5.5, 6.5, 8.5]


def test_real_images_have_a_row_and_seeds_share_their_sets():
    table = pd.concat([distances("vanilla", 0, (0, 5.0)), distances("vanilla", 1, (0, 7.0))])
    table = table[table["metric"] == "frechet_distance"]
    lacks_a_set = table[(table["seed"] == 0) | (table["image_set"] == 0)]
    real = table.iloc[:3].assign(process="real_images", run=None, images_seen=None, steps=None)
    real = real.assign(value=[1.0, 2.0, 6.0], image_set=range(3), seed=None, sampler=None)
    flow, floor = summarise(pd.concat([lacks_a_set, real])).itertuples()
    # What the second set adds could not be told from what the first seed does.
    assert (flow.mean, flow.image_sets, flow.by_seed) == (6, 1, "0=5 1=7")
    assert flow.how == "Student's over seeds"
    expected = stats.t.interval(0.95, 2, loc=3, scale=stats.sem([1, 2, 6]))
    assert (floor.mean, floor.low, floor.high) == pytest.approx((3, *expected))
    assert (floor.process, floor.image_sets) == ("real_images", 3)
    assert pd.isna([floor.run, floor.seeds, floor.steps]).all()


def test_one_seed_has_no_interval_and_a_lone_run_no_difference():
    table = distances("loom", 0, (5.0, 3.0))
    table = table[table["metric"] == "frechet_distance"]
    (row,) = summarise(table).itertuples()
    assert row.mean == 3.5
    assert pd.isna([row.low, row.high, row.difference]).all()
