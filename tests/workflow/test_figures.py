"""Figures from archived results, and what a notebook that fails leaves behind."""

import json
import re

import pandas as pd
import pytest

from dansm.io.tables import COLUMNS, write_table
from dansm.publish.archive import archive

TARGET = "results/from_reference/figures/distance_table_digits.png"
REFERENCE = ("--config", "from=reference")


@pytest.fixture
def archived(project):
    """The project with a table of distances in its archive, and no runs."""
    rows = [
        {
            "dataset": "digits",
            "process": "rectified_flow",
            "coupling": "independent",
            "match_size": 0,
            "seed": seed,
            "images_seen": 64_000,
            "sampler": "euler",
            "steps": steps,
            "nfe": float(steps),
            "seed_range": 0,
            "metric": "frechet_distance",
            "feature_extractor": "digit_classifier",
            "n_samples": 10,
            "value": 90.0 / steps + seed,
        }
        for seed in (0, 1)
        for steps in (3, 10)
    ]
    results = project.folder / "results"
    table = results / "fid_digits.csv"
    write_table(table, pd.DataFrame(rows, columns=list(COLUMNS)))
    run = {"commit": None, "uncommitted_changes": False, "versions": {}, "hardware": {}}
    archive([table], results, results / "reference", run | {"seconds": 1}, "a test")
    table.unlink()
    return project


def test_a_figure_is_drawn_from_the_archive_and_nothing_is_trained(archived):
    assert archived.planned(TARGET, *REFERENCE) == {"take_archived": 1, "distance_table": 1}
    archived.succeeds(TARGET, *REFERENCE)
    assert (archived.folder / TARGET).exists()
    assert archived.planned(TARGET, *REFERENCE) == {}
    found = {path.name for path in (archived.folder / "results").iterdir()}
    assert found == {"reference", "from_reference"}
    missing = archived.fails(TARGET.replace("digits", "cifar10"), *REFERENCE, "--dry-run")
    assert "results/reference/fid_cifar10.csv: expected an archived result, found none" in missing
    assert "results/reference holds fid_digits.csv" in missing


def test_an_archived_table_that_was_edited_is_refused(archived):
    path = archived.folder / "results" / "reference" / "fid_digits.csv"
    path.write_text(path.read_text().replace("independent", "greedy"))
    output = archived.fails(TARGET, *REFERENCE)
    assert "error: results/reference/fid_digits.csv: expected sha256" in output


def test_a_notebook_that_fails_shows_cell_and_traceback_and_leaves_no_figure(archived):
    path = archived.folder / "notebooks" / "distance_table.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][-1]["source"] = [
        "save_figure(figure, output)\n",
        "def draw(): raise RuntimeError('no ink')\n",
        "draw()",
    ]
    path.write_text(json.dumps(notebook))
    archived.fails(TARGET, *REFERENCE)
    log = archived.folder / "results/from_reference/logs/distance_table/digits.log"
    text = log.read_text()
    assert "----> 3 draw()" in text
    assert "RuntimeError: no ink" in text
    assert "in draw()" in text
    figures = archived.folder / "results" / "from_reference" / "figures"
    assert [path for path in figures.glob("*") if path.is_file()] == []
    assert not list((archived.folder / "results/from_reference/jobs").rglob("digits.json"))


def test_the_page_on_figures_names_targets(project):
    page = (project.folder / "docs" / "figures.md").read_text()
    targets = re.findall(r"^snakemake (results/figures/\S+\.png)$", page, flags=re.MULTILINE)
    assert len(targets) == len(list((project.folder / "notebooks").glob("*.ipynb")))
    jobs = project.planned(*targets)
    assert {"distance_table", "sample_grid", "matching_cost", "train_model"} <= set(jobs)
