"""The examples, run as a user would."""

import ast
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
STEPS = 12


def run(name, folder, *arguments):
    """Run an example and check all that it prints: the two numbers of each line."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", "--steps", str(STEPS), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{STEPS}/{STEPS}" in done.stderr  # the progress bar
    header, *lines, note = done.stdout.splitlines()
    assert header.split() == ["noise", "random", "matched"]
    assert re.search(r"halves of the digits: 0\.0\d\d\)", note)
    numbers = {line[:20].strip(): [float(word) for word in line[20:].split()] for line in lines}
    assert list(numbers) == ["path length", "loss, last tenth", "samples to digits"]
    assert all(math.isfinite(x) and x > 0 for pair in numbers.values() for x in pair)
    random, matched = numbers["path length"]
    assert 10 < random < 11 and matched < 0.95 * random


@pytest.mark.parametrize("name", ["plain_pytorch", "torchcfm_loop"])
def test_examples_run_and_matched_paths_are_shorter(name, tmp_path):
    run(name, tmp_path)


def test_the_diffusers_example_runs_and_continues_with_its_pool(tmp_path):
    for runs in (1, 2):
        run("diffusers_loop", tmp_path, "--checkpoints", "checkpoints")
        state = torch.load(tmp_path / "checkpoints" / "matched" / "coupling_0.pt")
        progress = state["progress"]
        assert progress["pools"] * 1000 - len(progress["ids"]) == runs * STEPS * 64


@pytest.mark.parametrize(("name", "marked"), [("diffusers_loop", 3), ("torchcfm_loop", 3)])
def test_without_the_marked_lines_the_loops_are_their_projects_own(name, marked):
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    without = [line for line in lines if not line.endswith(("# DANSM", "# resume"))]
    assert len([line for line in lines if line.endswith("# DANSM")]) == marked
    code = ast.parse("\n".join(without))
    names = {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}
    imported = {node.module for node in ast.walk(code) if isinstance(node, ast.ImportFrom)}
    assert "torch" in names and not names & {"coupling", "make_coupling"}
    assert not any(module.startswith("dansm") for module in imported)
