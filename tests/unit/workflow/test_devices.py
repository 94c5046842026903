"""GPUs of a machine without scheduler: each job has its own, and waits for them."""

import os
import subprocess
import sys
import time

import pytest
import torch

from dansm.errors import InputError
from dansm.workflow.devices import gpus_asked, own_gpus, visible_gpus

HOLD = """
import os, sys
from dansm.workflow.devices import own_gpus
with own_gpus(int(sys.argv[1]), required=True):
    print("HAS", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretend that the machine shows these GPUs, and has lock files of its own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)

    def shows(names):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)

    return shows


@pytest.fixture
def holder():
    """Start a process that takes some GPUs until it is told to end."""
    started = []

    def start(count):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def gpus_of(process):
    for line in process.stdout:
        if line.startswith("HAS"):
            return set(line.split()[1].split(","))
    raise AssertionError("ended without GPUs")


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({}, 0),
        ({"gpu": 2}, 2),
        ({"gpu": 0, "gres": "gpu:3"}, 3),
        ({"gpu": 0, "gres": "gpu:a100:4"}, 4),
        ({"gpu": 1, "gres": "bandwidth:lustre:5"}, 1),
    ],
)
def test_gpus_are_asked_for_in_either_form(resources, count):
    assert gpus_asked(resources) == count


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("0,2", ["0", "2"]),
        (" 1, 3", ["1", "3"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
        ("none", []),
        ("GPU-5c,MIG-7a", ["GPU-5c", "MIG-7a"]),
    ],
)
def test_cuda_visible_devices_says_what_there_is(machine, value, names):
    machine(value)
    assert visible_gpus() == names


def test_without_driver_there_are_none(machine, monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []


def test_the_drivers_gpus_are_found(machine, monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-a\necho GPU-b\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == ["GPU-a", "GPU-b"]


def test_jobs_get_different_gpus_and_wait_for_a_free_one(machine, holder):
    machine("3,5")
    first, second = holder(1), holder(1)
    assert gpus_of(first) | gpus_of(second) == {"3", "5"}
    third = holder(1)
    assert "waiting for 1 of the GPUs 3, 5" in third.stdout.readline()
    second.communicate("\n")
    assert len(gpus_of(third)) == 1


def test_a_killed_job_gives_its_gpus_back(machine, holder):
    machine("0,1")
    first = holder(2)
    assert gpus_of(first) == {"0", "1"}
    first.kill()
    assert gpus_of(holder(2)) == {"0", "1"}


def test_a_job_that_waits_for_two_leaves_the_one_alone(machine, holder):
    machine("0,1")
    first = holder(1)
    taken = gpus_of(first)
    second = holder(2)
    assert "waiting for 2" in second.stdout.readline()
    time.sleep(0.2)
    assert gpus_of(holder(1)) == {"0", "1"} - taken


def test_slurm_jobs_do_not_wait_for_each_other(machine, monkeypatch, holder):
    machine("0")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = holder(1)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert gpus_of(first) == gpus_of(holder(1)) == {"0"}


def test_too_few_gpus_are_an_error_unless_the_cpu_will_do(machine):
    machine("0")
    with (
        pytest.raises(InputError, match=r"asks for, 2 .*hardware\.gpu.*found 1 .*DEVICES=0"),
        own_gpus(2, required=True),
    ):
        pass
    with own_gpus(2, required=False):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    machine("")
    with own_gpus(1, required=False):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("value", ["0,1", "NoDevFiles", None])
def test_a_job_that_asks_for_none_sees_none(machine, monkeypatch, value):
    machine("0,1")
    if value is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    else:
        machine(value)
    with own_gpus(0, required=True):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert visible_gpus() == []


def test_hiding_gpus_that_pytorch_has_already_found_is_refused(machine, monkeypatch):
    machine("0,1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with (
        pytest.raises(InputError, match=r"no GPU \(gpu: 0\), found that PyTorch already uses"),
        own_gpus(0, required=False),
    ):
        pass


def test_importing_what_jobs_import_does_not_settle_which_gpus_they_see():
    code = """
import torch

def asked(*arguments):
    raise SystemExit("asked the driver for GPUs")

torch._C._cuda_getDeviceCount = torch.cuda._lazy_init = asked
torch.cuda._device_count_nvml = lambda: 1
import dansm.data.latents, dansm.metrics.extractors, dansm.training.launching
"""
    subprocess.run([sys.executable, "-c", code], check=True)
