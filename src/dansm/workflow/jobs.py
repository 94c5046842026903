"""What every job of the workflow does around its library call, and the record that it leaves.

A job whose log is ``RESULTS/logs/RULE/NAME.log`` leaves ``RESULTS/jobs/RULE/NAME.json`` when it
succeeds: rule, wildcards, parameters, inputs, outputs, times and provenance. By these records each
result can be traced to all jobs behind it.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.files import RECEIPTS, read_json, write_json
from dansm.io.provenance import provenance
from dansm.workflow.devices import gpus_asked, own_gpus

RECORDS = "jobs"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work with its output in the rule's log, and the threads and GPUs it asks for.

    Errors that a user can act on end the job with one line in the log; others with a traceback.
    Training that was told to end by a cluster's scheduler goes back into the queue.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to a script.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    # Appended to, since a resumed job's first part is worth keeping. The descriptors themselves
    # are redirected, so that messages of libraries and child processes arrive there too.
    with open(log, "a", encoding="utf-8", buffering=1) as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    started = datetime.now(UTC)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{now} {snakemake.rule} {dict(snakemake.wildcards)}", flush=True)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(snakemake.threads)
        _keep_freed_memory()
    gpus = gpus_asked(snakemake.resources)
    # At a reduced scale a job does what it does on any machine, and asks for GPUs all the same.
    full_scale = snakemake.config.get("scale") is None
    try:
        with own_gpus(gpus, required=full_scale):
            if gpus and full_scale and torch is not None and not torch.cuda.is_available():
                raise InputError(
                    f"this job asks for GPUs, found that PyTorch {torch.__version__} cannot use "
                    f"those of {os.uname().nodename}; expected a build that goes with the driver"
                )
            yield
        _write_record(snakemake, started)
    except InterruptedTraining as interruption:
        print(interruption, flush=True)
        _requeue()
        sys.exit(os.EX_TEMPFAIL)
    except (InputError, TrainingError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def read_records(results: Path) -> dict[str, dict[str, Any]]:
    """Return the records of finished jobs by the files and folders that they made.

    Raises
    ------
    InputError
        If a record is not valid JSON.
    """
    paths = [p for p in (results / RECORDS).rglob("*.json") if p.parent.name != RECEIPTS]
    records = [read_json(path) for path in sorted(paths)]
    return {output: record for record in records for output in record["outputs"]}


def jobs_behind(path: str, records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of all jobs that a file was made by, its own first, each once."""
    found: dict[str, dict[str, Any]] = {}
    waiting = deque([path])
    while waiting:
        record = records.get(waiting.popleft())
        if record is not None and record["outputs"][0] not in found:
            found[record["outputs"][0]] = record
            waiting += record["inputs"]
    return list(found.values())


def _keep_freed_memory() -> None:
    """Keep memory that is freed in the process, where the C library is glibc.

    It would go back to the system with every large tensor, and each new one begin with a page fault
    every 4 KiB: a fifth of a training step of 16×16 images on the CPU. The peak stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _write_record(snakemake: Any, started: datetime) -> None:
    finished = datetime.now(UTC)
    log = Path(snakemake.log[0])
    # RESULTS/logs/RULE/NAME.log, whose NAME may have folders.
    results = next(folder.parent for folder in log.parents if folder.name == "logs")
    write_json(
        results / RECORDS / log.relative_to(results / "logs").with_suffix(".json"),
        {
            "rule": snakemake.rule,
            "wildcards": dict(snakemake.wildcards),
            # What is not JSON is told by its text: a finished job does not fail for its record.
            "params": json.loads(json.dumps(dict(snakemake.params.items()), default=str)),
            "inputs": [str(path) for path in snakemake.input],
            "outputs": [str(path) for path in snakemake.output],
            "started": started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - started).total_seconds(), 3),
            **provenance(),
        },
    )


def _requeue() -> None:
    """Put the surrounding Slurm job, if there is one, back into the queue under its number.

    Not where Slurm is ending it for good, as after scancel: its state is then no longer RUNNING.
    Without Slurm's commands, in a container for example, the job fails and Snakemake's retries
    submit it again.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or not (shutil.which("squeue") and shutil.which("scontrol")):
        return
    queue = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    state = subprocess.run(queue, stdout=subprocess.PIPE, text=True).stdout.strip()
    if state != "RUNNING":
        print(f"Slurm job {job} is {state or 'gone'}: not requeued", flush=True)
        return
    print(f"Slurm job {job} goes back into the queue", flush=True)
    subprocess.run(["scontrol", "requeue", job])
