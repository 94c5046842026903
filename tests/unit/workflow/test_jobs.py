"""What surrounds a job: its log, its threads, its exit code."""

import os
import platform
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch

from dansm.errors import InputError
from dansm.io.records import Records
from dansm.workflow.jobs import check_checkout

SCRIPT = """
import os, sys, types
import torch
from dansm.errors import InputError, InterruptedTraining
from dansm.workflow.jobs import job

snakemake = types.SimpleNamespace(
    log=[sys.argv[1]],
    rule="train_model",
    wildcards={"seed": "3"},
    params={"settings": {"seed": 3}, "range": range(2)},
    input=[],
    output=[os.path.join(sys.argv[1].partition("/logs/")[0], "model.csv")],
    threads=2,
    resources={"gpu": int(os.getenv("GPU", 0))},
    config={"scale": os.getenv("SCALE")},
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
    log = tmp_path / "logs" / "train_model" / "job.log"
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
    log = tmp_path / "logs" / "train_model" / "job.log"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", SCRIPT, str(log), "pass"], check=True)
    assert log.read_text().count("from a child process") == 2


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its settings are glibc's")
def test_tensors_come_from_memory_that_the_process_keeps(tmp_path):
    """Each of a tensor's 16,384 pages faults when it is new, and some tensors' are."""
    statement = """
import resource
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print("faults", resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    log = tmp_path / "logs" / "train_model" / "job.log"
    subprocess.run([sys.executable, "-c", SCRIPT, str(log), statement], check=True)
    faults = int(re.search(r"^faults (\d+)$", log.read_text(), re.M)[1])
    assert faults < 10 * 16_384


def test_a_job_that_succeeds_leaves_a_record(tmp_path):
    log = tmp_path / "logs" / "train_model" / "digits" / "seed3.log"
    command = [sys.executable, "-c", SCRIPT, str(log)]
    write = f"open({str(tmp_path / 'model.csv')!r}, 'w').write('x')"
    assert subprocess.run([*command, f"{write}; 1 / 0"], capture_output=True).returncode == 1
    (record,) = Records(tmp_path).jobs
    assert record.finished is None  # in the making
    subprocess.run([*command, write], check=True)
    assert (tmp_path / "jobs" / "train_model" / "digits" / "seed3.json").exists()
    records = Records(tmp_path)
    (record,) = records.jobs
    assert (record.rule, record.wildcards) == ("train_model", {"seed": "3"})
    assert (record.inputs, record.outputs) == ({}, ["model.csv"])
    took = datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)
    assert record.seconds == pytest.approx(took.total_seconds(), abs=0.01)
    assert record.params == {"settings": {"seed": 3}, "range": "range(0, 2)"}
    assert record.versions["torch"] == torch.__version__.partition("+")[0]
    assert record.hardware["threads"] == 2
    assert records.unproven() == []


def test_a_job_does_not_begin_with_an_input_of_unknown_origin(tmp_path):
    log = tmp_path / "logs" / "train_model" / "job.log"
    (tmp_path / "data.csv").write_text("placed")
    script = SCRIPT.replace("input=[]", f"input=[{str(tmp_path / 'data.csv')!r}]")
    assert subprocess.run([sys.executable, "-c", script, str(log), "pass"]).returncode == 1
    assert "data.csv: expected a result as its job made it" in log.read_text()
    assert "from Python" not in log.read_text()


def with_gpu(log, **environment):
    command = [sys.executable, "-c", SCRIPT, str(log), "print('went on')"]
    environment = {"GPU": "1", "TMPDIR": str(log.parents[2]), **environment}
    done = subprocess.run(command, env=os.environ | environment)
    return done.returncode, log.read_text()


def test_a_job_that_asks_for_a_gpu_does_not_train_on_the_cpu(tmp_path):
    code, log = with_gpu(tmp_path / "logs" / "train_model" / "job.log", CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert "error: this job needs as many GPUs as it asks for, 1" in log
    assert "went on" not in log


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without GPU")
def test_a_gpu_that_pytorch_cannot_use_is_named(tmp_path):
    code, log = with_gpu(tmp_path / "logs" / "train_model" / "job.log", CUDA_VISIBLE_DEVICES="0")
    assert code == 1
    assert "found that PyTorch" in log
    assert "cannot use" in log
    assert "went on" not in log


def test_at_a_reduced_scale_the_cpu_will_do(tmp_path):
    code, log = with_gpu(
        tmp_path / "logs" / "train_model" / "job.log", CUDA_VISIBLE_DEVICES="0,1", SCALE="smoke"
    )
    assert code == 0, log
    assert "GPU 0\n" in log
    assert "went on" in log


@pytest.mark.parametrize(
    ("state", "line", "requeued"),
    [
        ("RUNNING", "Slurm job 7 goes back into the queue", True),
        ("COMPLETING", "Slurm job 7 is COMPLETING: not requeued", False),
        ("", "Slurm job 7 is gone: not requeued", False),
    ],
)
def test_interrupted_training_is_requeued_unless_slurm_cancels_it(tmp_path, state, line, requeued):
    calls = tmp_path / "calls"
    for name, action in (("squeue", f"echo {state}"), ("scontrol", f'echo "$@" >> {calls}')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{action}\n")
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    statement = "raise InterruptedTraining('the state is saved')"
    log = tmp_path / "logs" / "train_model" / "job.log"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(log), statement],
        env=os.environ | {"PATH": path, "SLURM_JOB_ID": "7"},
    )
    assert done.returncode == os.EX_TEMPFAIL
    assert f"the state is saved\n{line}\n" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert (calls.exists() and calls.read_text() == "requeue 7\n") is requeued


def test_interrupted_training_without_slurm_only_fails(tmp_path):
    log = tmp_path / "logs" / "train_model" / "job.log"
    environment = {key: value for key, value in os.environ.items() if key != "SLURM_JOB_ID"}
    command = [sys.executable, "-c", SCRIPT, str(log), "raise InterruptedTraining('saved')"]
    assert subprocess.run(command, env=environment).returncode == os.EX_TEMPFAIL
    assert log.read_text().endswith("saved\n")


@pytest.mark.parametrize("name", ["{a}", "a:b", "{wildcards.dataset}", "new\nline", "caf\udce9"])
def test_a_checkout_that_snakemake_cannot_use_is_refused_in_one_line(name):
    with pytest.raises(
        InputError, match=r"/me/.*: expected a checkout whose path .* elsewhere$"
    ) as caught:
        check_checkout(Path("/me", name))
    assert "\n" not in str(caught.value) and str(caught.value).encode()


@pytest.mark.parametrize(
    "name", ["my project", 'it\'s "a" #b? & ; $HOME', "Zoë's", "results", "%s", "~"]
)
def test_any_other_path_of_a_checkout_will_do(name):
    check_checkout(Path("/me", name))
