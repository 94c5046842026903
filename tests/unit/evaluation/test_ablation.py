"""Comparison of couplings: times belong to snapshots, intervals to seeds, differences to pairs."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from dansm.config import Network, RunSettings
from dansm.couplings import fit_potentials
from dansm.errors import InputError
from dansm.evaluation.ablation import collect_times, read_ablation, summarise_ablation
from dansm.evaluation.table import COLUMNS, write_table
from dansm.files import write_json

SETTINGS = RunSettings(
    dataset="toy",
    shape=(1, 8, 8),
    horizontal_flips=False,
    process="rectified_flow",
    coupling="independent",
    match_size=0,
    seed=0,
    network=Network(channels=[8], layers_per_block=1, attention_at=[], dropout=0, norm_groups=4),
    batch_size=8,
    learning_rate=1e-3,
    ema_decay=0.9,
    gradient_clip=1.0,
    mixed_precision="no",
    budget_images=80,
    snapshots=2,
)


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


def write_run(folder, coupling, seed, seconds, images=(40, 80)):
    folder.mkdir(parents=True)
    settings = SETTINGS.model_copy(update={"coupling": coupling, "seed": seed})
    write_json(folder / "run.json", {"settings": settings.model_dump(mode="json")})
    write_table(folder / "distances.csv", distances(coupling, seed, (5.0, 3.0)))
    lines = [
        json.dumps({"images_seen": seen, "seconds": s})
        for seen, s in zip(images, seconds, strict=True)
    ]
    (folder / "stats.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def potentials(tmp_path):
    path = tmp_path / "potentials.npz"
    fitted = fit_potentials(torch.rand(9, 1, 8, 8), seed=0, steps=2, batch_size=4, progress=False)
    fitted.save(path)
    return path, fitted.seconds


def test_each_snapshot_has_its_time_and_fitting_is_part_of_it(tmp_path, potentials):
    path, fitting = potentials
    folders = [
        write_run(tmp_path / "a", "independent", 0, (1.5, 3.5)),
        write_run(tmp_path / "b", "semidiscrete", 0, (2.0, 4.0)),
    ]
    collect_times(folders, {"semidiscrete": path}, tmp_path / "ablation.csv")
    table = read_ablation(tmp_path / "ablation.csv")
    assert list(table.columns) == [*COLUMNS, "seconds"]
    assert fitting > 0
    found = table.groupby(["coupling", "images_seen"])["seconds"].unique()
    assert found["independent", 40] == [1.5]
    assert found["independent", 80] == [3.5]
    assert found["semidiscrete", 80] == [pytest.approx(4.0 + fitting)]


def test_a_snapshot_without_a_time_is_named(tmp_path):
    folder = write_run(tmp_path / "a", "independent", 0, (1.5, 3.5), images=(40, 72))
    with pytest.raises(InputError, match=r"stats\.jsonl: expected a line.*images_seen \[80\]"):
        collect_times([folder], {}, tmp_path / "ablation.csv")
    (folder / "stats.jsonl").write_text('{"images_seen": 40}\n')
    with pytest.raises(InputError, match=r"stats\.jsonl: expected the statistics.*seconds"):
        collect_times([folder], {}, tmp_path / "ablation.csv")
    assert not (tmp_path / "ablation.csv").exists()


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
