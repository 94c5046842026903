"""The records of jobs: what they prove, what they refuse, and how cheaply."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dansm.errors import InputError
from dansm.io import records as module
from dansm.io.files import sha256, write_json, write_text
from dansm.io.records import JOBS, Records, check_results_folder, is_proven, recorded


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder with a store, a run of it and a table of that, each by a job."""
    monkeypatch.chdir(tmp_path)
    root = Path("results")
    store, run, table = root / "data" / "digits", root / "runs" / "run.json", root / "fid.csv"
    Path("notebook").write_text("x")
    with recorded(root, "build", "digits", [store]):
        write_text(store / "array.npy", "array")
        write_text(store / "parts" / "labels.npy", "labels")
        write_text(store / ".snakemake_timestamp", "")
    with recorded(root, "train", "digits/seed0", [run], inputs=[store], wildcards={"seed": "0"}):
        write_json(run, {"seed": 1})
    with recorded(root, "collect", "digits", [table], inputs=[run, store, "notebook"]):
        write_text(table, "value\n1.5\n")
    return root


def no_reading(monkeypatch):
    monkeypatch.setattr(module, "sha256", lambda path: pytest.fail(f"{path} was read"))


def test_what_jobs_made_is_proven_without_reading_it(results, monkeypatch):
    no_reading(monkeypatch)
    assert Records(results).unproven() == []
    check_results_folder(results)


def test_a_record_holds_the_digests_of_outputs_and_inputs(results):
    record = Records(results).of("fid.csv")
    content = record.files["fid.csv"]
    assert content.sha256 == sha256(results / "fid.csv")
    assert record.inputs["runs/run.json"] == sha256(results / "runs" / "run.json")
    assert record.inputs["../notebook"] == hashlib.sha256(b"x").hexdigest()
    assert 10 < record.peak_memory_mb < 100_000
    store = Records(results).of("data/digits/array.npy")
    assert set(store.files) == {f"data/digits/{n}" for n in ("array.npy", "parts/labels.npy")}
    of_store = record.inputs["data/digits"]
    write_text(results / "data" / "digits" / "array.npy", "other")
    with recorded(results, "build", "digits", ["results/data/digits"]):
        pass
    assert Records(results).sha256("data/digits") not in (None, of_store)


def test_all_jobs_behind_a_file_are_found_once(results):
    records = Records(results)
    found = [record.rule for record in records.behind("fid.csv")]
    assert found == ["collect", "train", "build"]
    assert records.behind("unknown.csv") == []


@pytest.mark.parametrize("place", ["made_up.csv", "data/digits/more.npy", "features/png/f.npz"])
def test_a_hand_placed_file_is_refused_wherever_it_lies(results, place):
    write_text(results / place, "0.1")
    with pytest.raises(InputError, match="made by this workflow") as caught:
        check_results_folder(results)
    assert f"results/{place}" in str(caught.value) and "fid.csv" not in str(caught.value)


def test_only_some_places_hold_no_results(results):
    run = results / "runs" / "digits" / "vanilla" / "seed0"
    for place in ("logs/a.csv", "reference/a.csv", ".hidden/a.csv", "notes.txt", "smoke/jobs/x/y"):
        write_text(results / place, "mine")
    for place in (run / "training" / "t.json", run / "png" / "0.png", results / "smoke" / "a.csv"):
        write_text(place, "mine")
    assert Records(results).unproven() == []
    # A dataset may be called like a place.
    write_text(results / "runs" / "training" / "png" / "seed0" / "run.json", "{}")
    assert Records(results).unproven() == [results / "runs/training/png/seed0/run.json"]


@pytest.mark.parametrize("name", ["jobs", "training", "encoding", "reference", "png", "smoke"])
def test_a_dataset_may_be_called_like_a_place_and_is_checked(results, name):
    with recorded(results, "build", name, [results / "data" / name]):
        write_text(results / "data" / name / "array.npy", "array")
    write_text(results / "data" / name / "more.npy", "mine")
    write_text(results / "data" / "digits" / "more.npy", "mine")
    assert {path.parent.name for path in Records(results).unproven()} == {name, "digits"}


@pytest.mark.parametrize("text", ["value\n1.4\n", "value\n1.45\n"], ids=["same size", "longer"])
def test_an_edited_file_is_reported(results, text):
    path = results / "fid.csv"
    path.write_text(text)
    os.utime(path, ns=(0, 10**9))  # a clock too coarse to see the edit must not hide it
    assert Records(results).unproven() == [path]


def test_a_touched_and_a_copied_folder_stay_proven_and_are_read_once(results, monkeypatch):
    os.utime(results / "fid.csv", ns=(0, 10**9))
    copy = Path("elsewhere", "copy").absolute()
    shutil.copytree(results, copy, copy_function=shutil.copyfile)
    for root in (results, copy):
        assert Records(root).unproven() == []
        assert [r.rule for r in Records(root).behind("fid.csv")][-1] == "build"
    no_reading(monkeypatch)
    assert Records(results).unproven() == Records(copy).unproven() == []


def test_an_input_that_snakemake_touched_is_read_by_the_first_job_only(results, monkeypatch):
    os.utime(results / "fid.csv")
    with recorded(results, "draw", "a", [results / "a.csv"], inputs=[results / "fid.csv"]):
        pass
    no_reading(monkeypatch)
    assert Records(results).unproven() == []


@pytest.mark.parametrize(
    ("text", "where"),
    [("", "all of it"), ("{}", "rule"), ("[1]", "all of it"), ('{"rule": 3}', "rule")],
)
def test_what_is_no_record_is_named(results, text, where):
    path = results / JOBS / "collect" / "digits.json"
    path.write_text(text)
    with pytest.raises(
        InputError, match=rf"{re.escape(str(path))}: {where}: expected the JSON of a valid record"
    ) as caught:
        check_results_folder(results)
    assert "\n" not in str(caught.value)


def test_what_a_killed_job_leaves_is_in_the_making(results):
    code = """
import os
from pathlib import Path
from dansm.io.files import write_text
from dansm.io.records import recorded
with recorded(Path("results"), "train", "digits/seed1", ["results/new", "results/new.csv"]):
    write_text(Path("results/new/weights.npz"), "x")
    write_text(Path("results/new.csv"), "x")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code])
    check_results_folder(results)
    records = Records(results)
    assert records.sha256("new.csv") is None and records.behind("new.csv") == []
    with (
        pytest.raises(InputError, match=r"new.csv: expected a result as its job made it"),
        recorded(results, "collect", "b", ["results/b.csv"], inputs=["results/new.csv"]),
    ):
        pytest.fail("the job must not begin")


def test_a_job_that_begins_anew_has_its_outputs_in_the_making(results):
    with recorded(results, "collect", "digits", ["results/fid.csv"]):
        write_text(results / "fid.csv", "half")
        assert Records(results).unproven() == []
    # Another rule that made the same since is the one that counts.
    with recorded(results, "renamed", "digits", ["results/fid.csv"]):
        write_text(results / "fid.csv", "whole")
    records = Records(results)
    assert records.unproven() == [] and records.of("fid.csv").rule == "renamed"


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_changed_input_stops_a_job(results, change):
    path = results / "data" / "digits" / "array.npy"
    path.unlink() if change == "remove" else path.write_text("other")
    with (
        pytest.raises(
            InputError, match=r"results/data/digits/array.npy: expected a result as its job"
        ),
        recorded(results, "train", "x", ["results/x.csv"], inputs=["results/data/digits"]),
    ):
        pytest.fail("the job must not begin")


@pytest.mark.parametrize("dated", [True, False], ids=["new date", "date kept"])
@pytest.mark.parametrize("place", [0, -1])
def test_one_flipped_bit_of_an_input_stops_a_job(results, dated, place):
    path = results / "data" / "digits" / "parts" / "labels.npy"
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    if not dated:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with (
        pytest.raises(InputError, match=f"^{path}: expected a result as its job made it"),
        recorded(results, "train", "x", ["results/x.csv"], inputs=["results/data/digits"]),
    ):
        pytest.fail("the job must not begin")
    with pytest.raises(InputError, match=f"^{path}: expected a result as its job made it"):
        is_proven(results / "data" / "digits")


def test_what_is_of_no_finished_job_is_left_to_its_reader(results, tmp_path):
    assert is_proven(results / "fid.csv") and is_proven((results / "data" / "digits").absolute())
    write_text(results / "placed.csv", "x")
    write_text(tmp_path / "beside.csv", "x")
    assert not is_proven(results / "placed.csv") and not is_proven(tmp_path / "beside.csv")
    with recorded(results, "collect", "digits", ["results/fid.csv"]):
        assert not is_proven(results / "fid.csv")


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("1")
    long_ago = time.time_ns() + 10**10
    monkeypatch.setattr("dansm.io.files.time.time_ns", lambda: long_ago)
    assert sha256(path) == hashlib.sha256(b"1").hexdigest()
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        "dansm.io.files.hashlib.file_digest", lambda *a: reads.append(1) or digest(*a)
    )
    assert sha256(path) == hashlib.sha256(b"1").hexdigest() and not reads
    time.sleep(0.02)
    path.write_text("2")
    os.utime(path, ns=(0, 0))
    assert sha256(path) == hashlib.sha256(b"2").hexdigest() and reads


def test_one_flipped_bit_of_a_record_is_refused(results):
    path = results / JOBS / "collect" / "digits.json"
    whole, draws = path.read_bytes(), random.Random(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(whole))] ^= 1 << draws.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"^{path}: ") as caught:
            Records(results)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert Records(results).unproven() == []


def test_a_record_of_before_still_counts(results):
    path = results / JOBS / "collect" / "digits.json"
    content = json.loads(path.read_text())
    del content["record_sha256"]
    path.write_text(json.dumps(content))
    assert Records(results).unproven() == []


def test_a_full_disk_is_one_line_whoever_meets_it(results):
    with (
        pytest.raises(InputError, match=r"x\.log: expected room on the disk /.*No space left"),
        recorded(results, "train", "x", ["results/x.csv"]),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.log")


def test_verify_names_what_is_altered_missing_and_unrecorded(results, capsys):
    assert list(Records(results).verify()) == []
    assert "100%" in capsys.readouterr().err
    path = results / "fid.csv"
    stat = path.stat()
    path.write_text("value\n1.6\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # nothing but its content shows it
    (results / "data" / "digits" / "array.npy").unlink()
    write_text(results / "placed.csv", "x")
    found = dict(line.split(": ", 1) for line in Records(results).verify())
    assert {name: text[:7] for name, text in found.items()} == {
        "results/fid.csv": "altered",
        "results/data/digits/array.npy": "missing",
        "results/placed.csv": "made by",
    }


def test_a_folder_without_write_permission_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be writable, found a file"):
        check_results_folder(tmp_path / "file" / "results")


def test_the_text_of_a_record_is_plain_json(results):
    content = json.loads((results / JOBS / "train" / "digits" / "seed0.json").read_text())
    assert content["wildcards"] == {"seed": "0"} and content["seconds"] >= 0
    assert {"commit", "uncommitted_changes", "versions", "hardware"} <= set(content)
