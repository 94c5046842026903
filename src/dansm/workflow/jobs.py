"""The surroundings of a job's library call: log, threads, GPUs, exit code and record.

A job whose log is ``RESULTS/logs/RULE/NAME.log`` has the record ``RESULTS/jobs/RULE/NAME.json`` of
`dansm.io.records`.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import validate_call

from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.records import recorded
from dansm.workflow.devices import gpus_asked, own_gpus

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


@contextmanager
def job(snakemake: Any, keeps: bool = False) -> Iterator[bool]:
    """Run a script's work with its output in the rule's log, and the threads and GPUs it asks for.

    Errors that a user can act on end the job with one line in the log; others with a traceback.
    Training that was told to end by a cluster's scheduler goes back into the queue.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to a script.
    keeps
        See `dansm.io.records.recorded`; this yields what that does.
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
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale; bytes of file names that are not UTF-8 are escaped.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{now} {snakemake.rule} {dict(snakemake.wildcards)}", flush=True)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(snakemake.threads)
        _keep_freed_memory()
    gpus = gpus_asked(snakemake.resources)
    # At a reduced scale a job does what it does on any machine, and asks for GPUs all the same.
    full_scale = snakemake.config.get("scale") is None
    # RESULTS/logs/RULE/NAME.log, whose NAME may have folders.
    results, _, name = log.with_suffix("").as_posix().partition(f"/logs/{snakemake.rule}/")
    try:
        with (
            own_gpus(gpus, required=full_scale),
            recorded(
                Path(results),
                snakemake.rule,
                name,
                [str(path) for path in snakemake.output],
                inputs=[str(path) for path in snakemake.input],
                wildcards=dict(snakemake.wildcards),
                params=dict(snakemake.params.items()),
                keeps=keeps,
            ) as made,
        ):
            if gpus and full_scale and torch is not None and not torch.cuda.is_available():
                raise InputError(
                    f"this job asks for GPUs, found that PyTorch {torch.__version__} cannot use "
                    f"those of {os.uname().nodename}; expected a build that goes with the driver"
                )
            yield made
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


def check_checkout(folder: Path) -> None:
    """Check that jobs can run in a checkout.

    Raises
    ------
    InputError
        If its path has braces, which Snakemake fills in, colons, which end a folder of PYTHONPATH,
        or characters that do not print.
    """
    unsuitable = {
        c for c in str(folder) if c in "{}" + os.pathsep or not (c.isprintable() or c == " ")
    }
    if unsuitable:
        raise InputError(
            f"{str(folder)!r}: expected a checkout whose path Snakemake can use, found "
            f"{' '.join(sorted(map(repr, unsuitable)))} in it; move it elsewhere"
        )


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Call a function with what a rule has, as the types that its parameters are annotated with.

    A file's name becomes a path, the JSON of settings their model.
    """
    validate_call(function, config={"arbitrary_types_allowed": True})(*arguments, **options)


def _keep_freed_memory() -> None:
    """Keep memory that is freed in the process, where the C library is glibc.

    It would go back to the system with every large tensor, and each new one begin with a page fault
    every 4 KiB: a fifth of a training step of 16×16 images on the CPU. The peak stays the same.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 2**30)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


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
