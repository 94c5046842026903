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
EXAMPLES = ["plain_pytorch", "diffusers_loop", "torchcfm_loop"]
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


@pytest.mark.parametrize("name", EXAMPLES)
def test_three_marked_lines_are_all_that_matching_adds(name):
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    marked = [line for line in lines if "# DANSM" in line]
    assert [line.split("# ")[1].split(",")[0] for line in marked] == [
        f"DANSM {k} of 3" for k in (1, 2, 3)
    ]
    assert "coupling.match(" in marked[2] and "instead of torch.randn_like(" in marked[2]
    without = [line for line in lines if not line.endswith("# resume")]
    without[without.index(marked[2])] = marked[2].replace("coupling.match", "torch.randn_like")
    code = ast.parse("\n".join(line for line in without if line not in marked[:2]))
    names = {node.id for node in ast.walk(code) if isinstance(node, ast.Name)}
    assert "torch" in names and not names & {"coupling", "make_coupling", "dansm"}
