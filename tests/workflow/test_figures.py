"""Figures from archived results, and what a notebook that fails leaves behind."""

import json
import re
import shutil

import pytest

from dansm.io.files import read_json

from .conftest import ROOT

NAME = "distance_table_digits_latent"
TARGET = f"results/from_reference/figures/{NAME}.png"
REFERENCE = ("--config", "from=reference")


@pytest.fixture
def archived(project):
    """The project with its archive, and no runs."""
    shutil.copytree(ROOT / "results/reference", project.folder / "results/reference")
    return project


def test_a_figure_is_drawn_from_the_archive_and_nothing_is_trained(archived):
    planned = archived.planned(TARGET, *REFERENCE)
    assert set(planned) == {"take_archived", "draw_figure"}
    archived.succeeds(TARGET, *REFERENCE)
    assert (archived.folder / TARGET).exists()
    assert archived.planned(TARGET, *REFERENCE) == {}
    found = {path.name for path in (archived.folder / "results").iterdir()}
    assert found == {"reference", "from_reference"}
    missing = archived.fails(TARGET.replace("digits_latent", "cifar10"), *REFERENCE, "--dry-run")
    assert "results/reference/summary_cifar10.csv: expected an archived result, found" in missing


def test_in_another_folder_the_projects_notebooks_are_drawn(archived, tmp_path):
    for name in ("config", "results"):
        shutil.copytree(archived.folder / name, tmp_path / "other" / name)
    elsewhere = ("--directory", str(tmp_path / "other"))
    planned = archived.planned(TARGET, *REFERENCE, *elsewhere)
    assert set(planned) == {"take_archived", "draw_figure"}


def test_an_archived_table_that_was_edited_is_refused(archived):
    path = archived.folder / "results/reference/distances_digits_latent.csv"
    path.write_text(path.read_text().replace("independent", "greedy"))
    output = archived.fails(TARGET, *REFERENCE)
    assert "error: results/reference/distances_digits_latent.csv: expected sha256" in output


def test_a_notebook_that_fails_shows_cell_and_traceback_and_leaves_no_figure(archived):
    path = archived.folder / "notebooks" / "distance_table.ipynb"
    notebook = json.loads(path.read_text())
    drawn = "".join(notebook["cells"][-1]["source"]).splitlines()[:-1]
    lines = [*drawn, "def draw(): raise RuntimeError('no ink')", "draw()"]
    notebook["cells"][-1]["source"] = "\n".join(lines)
    path.write_text(json.dumps(notebook))
    archived.fails(TARGET, *REFERENCE)
    log = archived.folder / f"results/from_reference/logs/draw_figure/{NAME}.log"
    text = log.read_text()
    assert re.search(r"^-+> \d+ draw\(\)$", text, flags=re.MULTILINE)
    assert "RuntimeError: no ink" in text
    assert "in draw()" in text
    figures = archived.folder / "results" / "from_reference" / "figures"
    assert [path for path in figures.glob("*") if path.is_file()] == []
    jobs = archived.folder / "results/from_reference/jobs"
    assert read_json(jobs / f"draw_figure/{NAME}.json")["finished"] is None


def test_the_page_on_figures_names_targets(shipped):
    page = (shipped.folder / "docs" / "figures.md").read_text()
    targets = re.findall(r"^snakemake (results/figures/\S+\.png)$", page, flags=re.MULTILINE)
    notebooks = {path.stem for path in (shipped.folder / "notebooks").glob("*.ipynb")}
    drawn = {job.wildcards["figure"] for job in shipped.jobs(*targets) if job.rule == "draw_figure"}
    assert drawn == notebooks
