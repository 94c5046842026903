"""Which GPUs a job may use: as many as it asked for, and none that another job has.

A cluster assigns GPUs itself. On a machine without scheduler every job would take the first one, so
jobs take theirs by locking a file for each, and wait while too few are free.
"""

import fcntl
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dansm.errors import InputError

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus_asked(resources: Any) -> int:
    """Return how many GPUs a job's resources ask for, as ``gpu`` or ``gres``."""
    gres = re.fullmatch(r"gpu:(?:[^:]+:)?(\d+)", str(resources.get("gres", "")))
    return int(gres[1]) if gres else int(resources.get("gpu", 0))


def visible_gpus() -> list[str]:
    """Return the names, as in CUDA_VISIBLE_DEVICES, of the GPUs that this process would see."""
    if _VISIBLE in os.environ:
        # CUDA takes no notice of what follows a name that is none: -1, NoDevFiles, nothing.
        names = map(str.strip, os.environ[_VISIBLE].split(","))
        return list(itertools.takewhile(re.compile(r"\d+|(GPU|MIG)-.+").fullmatch, names))
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return found.stdout.split()


@contextmanager
def own_gpus(count: int, required: bool) -> Iterator[None]:
    """Show this process and its children ``count`` GPUs that no other job has.

    Parameters
    ----------
    count
        How many; with 0 it is shown none, whatever the machine has.
    required
        Whether too few are an error. Jobs at a reduced scale also run on the CPU.

    Raises
    ------
    InputError
        If the machine has too few, or PyTorch has already looked for GPUs that are to be hidden.
    """
    # From here on PyTorch may ask the driver, which tells more: whether they can be used.
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    if count == 0:
        os.environ[_VISIBLE] = ""
        # The driver reads this once, so it is too late after anyone has asked it for GPUs.
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            raise InputError(
                f"this job asks for no GPU (gpu: 0), found that PyTorch already uses those of "
                f"{os.uname().nodename}; expected {_VISIBLE} to be set before"
            )
        yield
        return
    names = visible_gpus()
    if len(names) < count and required:
        setting = f" with {_VISIBLE}={os.environ[_VISIBLE]}" if _VISIBLE in os.environ else ""
        raise InputError(
            f"this job needs as many GPUs as it asks for, {count} (hardware.gpu of its recipe, or "
            f"its rule), found {len(names)} on {os.uname().nodename}{setting}"
        )
    if not names:
        yield
        return
    with ExitStack() as locks:
        mine = _locked(names, min(count, len(names)), locks)
        os.environ[_VISIBLE] = ",".join(mine)
        print(f"GPU {os.environ[_VISIBLE]}", flush=True)
        yield


def _locked(names: list[str], count: int, locks: ExitStack) -> list[str]:
    """Return the first ``count`` GPUs that could be locked, waiting until there are so many."""
    # A Slurm job has GPUs of its own, which it may count from 0 like its neighbour's.
    owner = f"{os.getuid()}-{os.environ.get('SLURM_JOB_ID', 'local')}"
    folder = Path(tempfile.gettempdir()) / f"dansm-gpus-{owner}"
    folder.mkdir(mode=0o700, exist_ok=True)
    told = False
    while True:
        with ExitStack() as attempt:
            mine = []
            for name in names:
                file = attempt.enter_context((folder / f"{name.replace('/', '-')}.lock").open("a"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                mine.append(name)
                if len(mine) == count:
                    locks.enter_context(attempt.pop_all())
                    return mine
        if not told:
            print(f"waiting for {count} of the GPUs {', '.join(names)} to be free", flush=True)
            told = True
        time.sleep(1)
