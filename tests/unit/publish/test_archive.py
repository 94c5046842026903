"""The archive of published results: what it takes, what it says of it, what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dansm.errors import InputError
from dansm.io.files import read_json, write_json, write_text
from dansm.publish import archive as module
from dansm.publish.archive import archive, archived_path, read_archive, take

from ..test_project import ROOT
from .test_report import made


@pytest.fixture
def results(tmp_path):
    """A results folder with a run, a table of it, arrays and a figure, and the jobs' records."""
    folder = tmp_path / "results"
    table, arrays = folder / "fid_digits.csv", folder / "pairs" / "digits.npz"
    figure, run = folder / "figures" / "curves_digits.png", folder / "runs" / "0" / "run.json"
    for path in (table, arrays, figure, run):
        write_text(path, path.name)
    gpu = {"device": "a GPU", "cpus": 8}
    made(folder, "train", [], [run], 7200, hardware=gpu, commit="older")
    made(folder, "table", [run], [table], 2)
    made(folder, "pairs", [], [arrays], 1, uncommitted_changes=True)
    made(folder, "curves", [Path("notebooks/curves.ipynb"), table, arrays], [figure], 3)
    return folder


def test_a_figure_is_archived_with_its_tables_and_what_made_them(results, tmp_path):
    figure, reference = results / "figures" / "curves_digits.png", tmp_path / "reference"
    assert archive([figure], results, reference) == []
    entries = read_archive(reference)
    assert set(entries) == {"figures/curves_digits.png", "fid_digits.csv", "pairs/digits.npz"}
    assert (reference / "pairs" / "digits.npz").read_text() == "digits.npz"
    entry = entries["figures/curves_digits.png"]
    assert entry.command == f"snakemake {figure}"
    assert (entry.jobs, entry.seconds) == (4, 7206)
    # Of the training, which takes longest; the commit is that of the job itself.
    assert entry.hardware == {"device": "a GPU", "cpus": 8}
    assert entry.commit == "c0ffee0123456789"
    assert entry.uncommitted_changes is True
    assert entries["fid_digits.csv"].uncommitted_changes is False
    assert entry.inputs[0].endswith("notebooks/curves.ipynb")
    write_text(results / "fid_digits.csv", "new")
    made(results, "table", [], [results / "fid_digits.csv"])
    archive([results / "fid_digits.csv"], results, reference)
    assert read_archive(reference).keys() == entries.keys()
    assert (reference / "fid_digits.csv").read_text() == "new"


def test_nothing_is_archived_if_one_file_cannot_be(results, tmp_path):
    reference = tmp_path / "reference"
    shutil.rmtree(results / "jobs" / "pairs")
    with pytest.raises(InputError, match=r"digits.npz: expected the record of the job"):
        archive([results / "figures" / "curves_digits.png"], results, reference)
    assert not reference.exists()


def test_large_data_of_a_figure_stays_behind_but_is_named(results, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 13)
    figure, table = results / "figures" / "curves_digits.png", results / "fid_digits.csv"
    write_text(figure, "small")
    made(results, "curves", [table], [figure])
    assert archive([figure], results, tmp_path / "reference") == [table]
    with pytest.raises(InputError, match=r"fid_digits.csv: expected at most 13 bytes, found 14"):
        archive([table], results, tmp_path / "reference")


def test_what_cannot_be_traced_is_refused(results, tmp_path):
    reference = tmp_path / "reference"
    with pytest.raises(InputError, match="expected a file below"):
        archive([tmp_path / "elsewhere.csv"], results, reference)
    table = results / "fid_digits.csv"
    table.write_text("edited")
    with pytest.raises(InputError, match=r"fid_digits.csv: expected a result as it was made"):
        archive([table], results, reference)
    shutil.rmtree(results / "jobs")
    with pytest.raises(InputError, match=r"expected the record of the job that made it, found"):
        archive([table], results, reference)
    assert not reference.exists()


def test_a_figure_of_archived_tables_leaves_these_as_they_are(results, tmp_path, monkeypatch):
    reference, drawn = tmp_path / "reference", tmp_path / "from_reference"
    archive([results / "fid_digits.csv"], results, reference)
    before = read_archive(reference)
    monkeypatch.setattr(module, "DRAWN", drawn)
    table, figure = drawn / "fid_digits.csv", drawn / "figures" / "curves_digits.png"
    take("fid_digits.csv", table, reference)
    write_text(figure, "drawn")
    made(drawn, "take_archived", [reference / "fid_digits.csv"], [table])
    made(drawn, "curves", [table], [figure])
    assert archive([figure], drawn, reference) == []
    after = read_archive(reference)
    assert after.pop("figures/curves_digits.png").command.endswith(" --config from=reference")
    assert after == before


def test_an_index_of_another_shape_is_named(tmp_path):
    for content in ({}, {"files": {"a.csv": {"sha256": 3}}}, [1]):
        write_json(tmp_path / "run.json", content)
        with pytest.raises(InputError, match=r"run.json: .*: expected the JSON of a valid index"):
            read_archive(tmp_path)


def test_an_archived_file_is_taken_as_it_was(results, tmp_path):
    reference = tmp_path / "reference"
    archive([results / "fid_digits.csv"], results, reference)
    take("fid_digits.csv", tmp_path / "taken.csv", reference)
    assert (tmp_path / "taken.csv").read_text() == "fid_digits.csv"
    with pytest.raises(
        InputError, match=r"fid_mnist.csv: .* found none; beside it are fid_digits.csv"
    ):
        archived_path("fid_mnist.csv", reference)
    (reference / "fid_digits.csv").write_text("edited")
    with pytest.raises(InputError, match=r"fid_digits.csv: expected sha256"):
        take("fid_digits.csv", tmp_path / "again.csv", reference)
    (reference / "fid_digits.csv").unlink()
    with pytest.raises(InputError, match=r"expected the file that run.json names, found none"):
        read_archive(reference)


def test_everything_in_the_repositorys_archive_is_traced_and_small():
    reference = ROOT / module.REFERENCE
    entries = read_archive(reference)
    files = {
        path.relative_to(reference).as_posix() for path in reference.rglob("*") if path.is_file()
    }
    # What `make gpu` wrote says itself how it was made.
    assert {name for name in files if not name.startswith("gpu/")} == {*entries, "run.json"}
    for name, entry in entries.items():
        assert (reference / name).stat().st_size <= module.LARGEST
        assert entry.commit and entry.versions and entry.hardware and entry.made, name
    pictures = sum(path.stat().st_size for path in reference.rglob("*.png"))
    assert pictures <= 5e6, "everyone who clones the repository gets them"
    # No path of the machine that made them.
    assert "/tmp" not in json.dumps(read_json(reference / "run.json"))
    assert np.all([not entry.command.startswith("/") for entry in entries.values()])
