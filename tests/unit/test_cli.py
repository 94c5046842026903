"""The command line."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from dansm.cli import app
from dansm.config import DigitsSource, load_config
from dansm.data.sources import build_pixel_store
from dansm.evaluation.speed import write_speed_table
from dansm.evaluation.table import COLUMNS, write_table
from dansm.files import read_json

from .test_project import ROOT

run = CliRunner().invoke


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text((ROOT / "config/config.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_schema_is_written_and_checked(folder):
    path = folder / "config" / "config.schema.json"
    assert run(app, ["schema", "--check"]).exit_code == 1
    assert run(app, ["schema"]).exit_code == 0
    assert "experiments" in json.loads(path.read_text())["properties"]
    assert run(app, ["schema", "--check"]).exit_code == 0
    path.write_text("{}")
    assert "out of date" in run(app, ["schema", "--check"]).output


def test_train_trains_the_run_of_a_folder(folder):
    results = folder / "results" / "smoke"
    run_folder = "results/smoke/runs/digits/rectified_flow/greedy-100/seed1"
    missing = run(app, ["train", run_folder])
    assert missing.exit_code == 1
    assert "results/smoke/data/digits/meta.json: expected a JSON file" in missing.output
    build_pixel_store(
        DigitsSource(kind="sklearn_digits"), (1, 8, 8), "none", results / "data" / "digits"
    )
    done = run(app, ["train", run_folder])
    assert done.exit_code == 0, done.output
    config = load_config(folder / "config" / "config.yaml").model_copy(update={"scale": "smoke"})
    row = config.row("digits", "rectified_flow", "greedy", 100)
    settings = read_json(folder / run_folder / "run.json")["settings"]
    assert settings == config.run_settings(row, 1).model_dump(mode="json")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("results/digits", "expected results/runs/DATASET/PROCESS"),
        ("results/tiny/runs/digits/rectified_flow/greedy-100/seed1", "scale: unknown 'tiny'"),
        ("results/runs/digits/rectified_flow/greedy-7/seed1", "no experiment row for digits"),
    ],
)
def test_train_names_what_is_wrong_with_the_folder(folder, path, message):
    done = run(app, ["train", path])
    assert done.exit_code == 1
    assert message in done.output


def test_summary_prints_means_savings_and_pictures(folder):
    rows = [
        {
            "dataset": "digits",
            "process": "rectified_flow",
            "coupling": "greedy" if match_size else "independent",
            "match_size": match_size,
            "seed": seed,
            "images_seen": images,
            "sampler": "euler",
            "steps": 3,
            "nfe": 3.0,
            "seed_range": 0,
            "metric": "frechet_distance",
            "feature_extractor": "digit_classifier",
            "n_samples": 10,
            "value": (40.0 if match_size else 80.0) / images + seed,
        }
        for match_size in (0, 100)
        for seed in (0, 1)
        for images in (1, 2, 4)
    ]
    rows.append({**rows[0], "process": "real_halves", "images_seen": None, "value": 1.25})
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    write_table(folder / "results" / "fid_digits.csv", table)
    write_speed_table(
        table.assign(seconds=table["images_seen"] / 2), folder / "results" / "speed_digits.csv"
    )
    (folder / "results" / "figures").mkdir()
    (folder / "results" / "figures" / "distance_table_digits.png").touch()
    done = run(app, ["summary", "digits"])
    assert done.exit_code == 0, done.output
    vanilla, matched = np.mean([20, 21]), np.mean([10, 11])
    assert f"{vanilla:.1f}" in done.output
    assert f"{matched:.1f}" in done.output
    assert "50.0" in done.output  # 4 images against 2
    assert "real_halves (digit_classifier): 1.2" in done.output
    assert "results/figures/distance_table_digits.png" in done.output


def test_summary_of_what_is_not_there_says_so(folder):
    done = run(app, ["summary", "digits"])
    assert done.exit_code == 1
    assert "results/fid_digits.csv: expected a table of distances, found no file" in done.output


def test_help_names_the_commands():
    text = run(app, ["--help"]).output
    assert "summary" in text and "schema" in text


def test_the_shipped_config_is_what_yaml_reads(folder):
    content = yaml.safe_load((folder / "config" / "config.yaml").read_text())
    assert len(load_config(folder / "config/config.yaml").experiments) == len(
        content["experiments"]
    )
