"""Times of runs: those of their snapshots, with what was prepared before."""

import json

import pandas as pd
import pytest
import torch

from dansm.analysis.ablation import read_ablation
from dansm.analysis.times import collect_times
from dansm.config import Network, RunSettings
from dansm.couplings import fit_potentials
from dansm.errors import InputError
from dansm.io.files import write_json
from dansm.io.tables import COLUMNS, write_table

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


def write_run(folder, coupling, seed, seconds, images=(40, 80)):
    folder.mkdir(parents=True)
    settings = SETTINGS.model_copy(update={"coupling": coupling, "seed": seed})
    write_json(folder / "run.json", {"settings": settings.model_dump(mode="json")})
    row = {
        "dataset": "toy",
        "process": "rectified_flow",
        "coupling": coupling,
        "match_size": 0,
        "seed": seed,
        "sampler": "euler",
        "steps": 3,
        "nfe": 3.0,
        "seed_range": 0,
        "metric": "frechet_distance",
        "feature_extractor": "digit_classifier",
        "n_samples": 10,
    }
    of_snapshots = [
        {**row, "images_seen": 40, "value": 5.0},
        {**row, "images_seen": 80, "value": 3.0},
    ]
    write_table(folder / "distances.csv", pd.DataFrame(of_snapshots))
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
