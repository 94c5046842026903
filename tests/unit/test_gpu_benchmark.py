"""What `make gpu` runs, on the CPU at toy size: all parts, and what happens where one cannot."""

import csv
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from .test_project import ROOT

BLOCKED = """import sys
for name in {names!r}:
    sys.modules[name] = None
"""


@pytest.fixture
def run(tmp_path):
    """Run the program, without some modules; return the process and the JSON it wrote."""

    def start(*arguments, without=()):
        (tmp_path / "sitecustomize.py").write_text(BLOCKED.format(names=without))
        folder = tmp_path / "gpu"
        own = {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(
            [sys.executable, ROOT / "benchmarks" / "gpu.py", "--folder", folder, *arguments],
            env=os.environ | own,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        written = sorted(folder.glob("*.json"))
        return done, [json.loads(path.read_text()) for path in written], folder

    return start


def parts():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("gpu_parts")
    finally:
        sys.path.pop(0)


def test_every_part_measures_at_toy_size(run):
    done, (about,), folder = run("--device", "cpu", "--scale", "toy")
    assert done.returncode == 0, done.stdout + done.stderr
    found = about["parts"]
    assert {name: one["status"] for name, one in found.items()} == dict.fromkeys(
        parts().PARTS, "finished"
    )
    for one in found.values():
        assert one["values"]
        for value in one["values"]:
            # What matching ahead adds to a step is noise here, and features may be the same.
            if not value["statistic"].startswith(("share of a step, ahead", "difference")):
                assert value["value"] > 0, value
    ways = found["training step"]["cases"]
    assert len(ways) == 8
    assert {name for name, way in ways.items() if way["status"] == "finished"} == {
        "fp32",
        "fp32, channels last",
    }
    assert all("why" in way for way in ways.values() if way["status"] == "left out")
    same = [v for v in found["matching"]["values"] if v["statistic"] == "same noises"]
    assert [v["value"] for v in same] == [100, 100]
    assert about["commit"] and about["versions"]["torch"] and about["hardware"]["cpus"]
    with open(folder / "measurements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} == set(found)
    assert len(rows) == sum(len(one["values"]) for one in found.values())


def test_what_is_missing_is_left_out_and_what_fails_does_not_stop_the_rest(run):
    missing = ["diffusers", "pydantic", "psutil", "pandas", "typer", "accelerate", "cleanfid"]
    options = ("--device", "cpu", "--scale", "toy", "--commit", "c0ffee")
    done, (about,), _ = run(*options, without=[*missing, "dansm.analysis.timed_methods"])
    assert done.returncode == 1
    statuses = {name: one["status"] for name, one in about["parts"].items()}
    assert statuses == {
        "tests": "finished",
        "matching": "failed",
        "potentials": "finished",
        "matching share": "left out",
        "sampling": "left out",
        "training step": "left out",
    }
    (why,) = [one["why"] for one in about["parts"]["training step"]["cases"].values()]
    assert why.startswith("needs accelerate, diffusers, pandas, psutil, pydantic")
    cases = about["parts"]["matching"]["cases"]
    assert "timed_methods" in cases["greedy, match size 10"]["why"]
    assert cases["greedy, match size 10, as on the CPU"]["status"] == "finished"
    assert "greedy, match size 10: failed: " in done.stdout
    skipped = [c for c in about["parts"]["tests"]["cases"].values() if c["status"] == "left out"]
    assert any("accelerate" in one["why"] for one in skipped)
    assert about["commit"] == "c0ffee"


def test_without_a_gpu_one_line_says_so(run):
    done, written, folder = run()
    assert done.returncode == 1 and done.stdout == "" and written == []
    assert done.stderr.startswith("error: make gpu: expected a CUDA GPU, found none; torch ")
    assert done.stderr.count("\n") == 1 and not folder.exists()


def test_wheels_that_are_none_are_named_in_one_line(run, tmp_path):
    (tmp_path / "wheels").mkdir()
    for name, expected in (
        ("", "a folder of wheels, found none"),
        ("a.whl", "wheels that pip can"),
    ):
        if name:
            (tmp_path / "wheels" / name).write_text("no wheel")
        done, _, _ = run("--device", "cpu", "--wheels", tmp_path / "wheels")
        assert done.returncode == 1 and f"{tmp_path}/wheels: expected {expected}" in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_parts_together_take_less_than_eight_minutes():
    assert sum(part.seconds for part in parts().PARTS.values()) <= 465  # and what is around them
