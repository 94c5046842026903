"""Dates follow contents, so that Snakemake makes anew what has other inputs, and nothing else."""

import os
import shutil
from pathlib import Path

import pytest

from dansm.io import records as module
from dansm.io.files import write_text
from dansm.io.records import Records, recorded
from dansm.workflow.dates import settle_dates

ROOT = Path("results")
STORE, MODEL, TABLE, FIGURE = (ROOT / n for n in ("data/x", "model.csv", "table.csv", "fig.png"))
NOTEBOOK = Path("notebook.ipynb")
INPUTS = {STORE: [], MODEL: [STORE], TABLE: [MODEL], FIGURE: [TABLE, NOTEBOOK]}


def make(path, text):
    with recorded(ROOT, path.stem, "x", [path], inputs=INPUTS[path]):
        write_text(path / "array.npy" if path == STORE else path, text)
    (STORE / ".snakemake_timestamp").touch()


@pytest.fixture(autouse=True)
def finished(tmp_path, monkeypatch):
    """A store, a model of it, a table of that, and a figure of the table and a notebook."""
    monkeypatch.chdir(tmp_path)
    write_text(NOTEBOOK, "{}")
    for path in INPUTS:
        make(path, path.name)


def date(path):
    stamp = path / ".snakemake_timestamp"
    return (stamp if stamp.exists() else path).stat().st_mtime_ns


def outdated():
    """Return what Snakemake would make anew by dates, as it settles them."""
    settle_dates(Records(ROOT))
    return {
        path
        for path, inputs in INPUTS.items()
        if path.exists() and any(one.exists() and date(one) > date(path) for one in inputs)
    }


def redate(path, seconds):
    stamp = path / ".snakemake_timestamp"
    os.utime(stamp if stamp.exists() else path, (seconds, seconds))


@pytest.mark.parametrize("path", [STORE, MODEL, TABLE, NOTEBOOK])
@pytest.mark.parametrize("seconds", [1, 2_000_000_000, 5_000_000_000])
def test_a_touched_file_and_a_wrong_clock_make_nothing_anew(path, seconds):
    redate(path, seconds)
    assert outdated() == set()
    assert Records(ROOT).unproven() == []


def test_nor_does_a_copy_whose_files_have_dates_in_any_order():
    for number, path in enumerate([FIGURE, TABLE, MODEL, STORE / "array.npy", STORE]):
        redate(path, 1000 + number)
    (STORE / ".snakemake_timestamp").unlink()
    assert outdated() == set()


def test_what_is_settled_is_not_read_again(monkeypatch):
    redate(STORE, 2_000_000_000)
    outdated()
    monkeypatch.setattr(module, "sha256", lambda path: pytest.fail(f"{path} was read"))
    before = {path: date(path) for path in INPUTS}
    assert outdated() == set() and {path: date(path) for path in INPUTS} == before


@pytest.mark.parametrize(
    ("path", "stale"), [(STORE, {MODEL}), (MODEL, {TABLE}), (TABLE, {FIGURE}), (NOTEBOOK, {FIGURE})]
)
@pytest.mark.parametrize("seconds", [1, 5_000_000_000])
def test_other_content_makes_anew_what_it_is_an_input_of_whatever_its_date(path, stale, seconds):
    write_text(path, "other") if path == NOTEBOOK else make(path, "other")
    redate(path, seconds)
    assert outdated() == stale


def test_content_that_was_changed_back_makes_nothing_anew():
    write_text(NOTEBOOK, "other")
    redate(NOTEBOOK, 1)
    assert outdated() == {FIGURE}
    write_text(NOTEBOOK, "{}")
    assert outdated() == set()


def test_what_is_missing_or_in_the_making_keeps_its_date():
    before = date(FIGURE)
    shutil.rmtree(STORE)
    TABLE.unlink()
    with recorded(ROOT, "other", "x", [MODEL]):
        assert outdated() == set() and date(FIGURE) == before
