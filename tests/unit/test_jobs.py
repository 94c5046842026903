"""What surrounds a job: its log, its threads, its exit code."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys, types
import torch
from dansm.errors import InputError
from dansm.jobs import job

snakemake = types.SimpleNamespace(
    log=[sys.argv[1]], rule="train_model", wildcards={"seed": "3"}, threads=2
)
with job(snakemake):
    print("from Python, threads", torch.get_num_threads())
    os.system("echo from a child process")
    exec(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("statement", "code", "line", "traceback"),
    [
        ("pass", 0, "from Python, threads 2", False),
        ("raise InputError('x.csv: expected a, found b')", 1, "error: x.csv: expected a, ", False),
        ("1 / 0", 1, "ZeroDivisionError", True),
    ],
)
def test_everything_is_in_the_log(tmp_path, statement, code, line, traceback):
    log = tmp_path / "logs" / "job.log"
    command = [sys.executable, "-c", SCRIPT, str(log), statement]
    done = subprocess.run(command, capture_output=True, text=True)
    text = log.read_text()
    assert done.returncode == code, done.stderr + text
    assert "train_model {'seed': '3'}" in text
    assert "from a child process" in text
    assert line in text
    assert ("Traceback" in text) is traceback
    assert done.stdout == ""


def test_a_second_run_appends(tmp_path):
    log = tmp_path / "job.log"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", SCRIPT, str(log), "pass"], check=True)
    assert log.read_text().count("from a child process") == 2
