"""Training with as many processes as a job has GPUs, each with a pool of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from dansm.config import RunSettings
from dansm.data.store import open_store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.run_folder import STATE, TRAINING
from dansm.training.stopping import stop_requests
from dansm.training.trainer import train


def launch_training(
    settings: RunSettings,
    store: Path,
    folder: Path,
    *,
    processes: int,
    threads: int,
    potentials: Path | None = None,
    pairs: Path | None = None,
    start: Path | None = None,
    guide: Path | None = None,
    trackers: Sequence[str] = ("tensorboard",),
) -> None:
    """Train one run, or continue it; several processes are started by torchrun.

    Parameters
    ----------
    store
        Folder of the dataset's store; the rest is as for `dansm.training.trainer.Trainer`.
    processes
        How many share each batch.
    threads
        Of all processes together.

    Raises
    ------
    TrainingError
        If a process failed; its own error stands before.
    InterruptedTraining
        If SIGTERM asks it to stop; the state is saved.
    """
    if processes == 1:
        train(settings, open_store(store), folder, potentials, pairs, start, guide, trackers)
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", "-m", "dansm.training.launching"]
    command += [settings.canonical_json(), str(store), str(folder)]
    command += [json.dumps([*trackers])]
    command += [str(path or "") for path in (potentials, pairs, start, guide)]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // processes))}
    if torch.cuda.device_count() < processes:  # only at a reduced scale
        environment["ACCELERATE_USE_CPU"] = "true"
    state = folder / TRAINING / STATE
    before = _time_of(state)
    # The processes heed SIGTERM themselves, which Slurm sends to all, and torchrun passes on.
    with stop_requests() as requests:
        code = subprocess.run(command, env=environment).returncode
    if code and requests and _time_of(state) != before:
        raise InterruptedTraining(f"{folder}: stopped by request; the state is saved in {state}")
    if code:
        raise TrainingError(f"{folder}: one of {processes} processes failed, see above")


def _time_of(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _train_as_one_of_several(
    settings: str, store: str, folder: str, trackers: str, *given: str
) -> None:
    try:
        train(
            RunSettings.model_validate_json(settings),
            open_store(Path(store)),
            Path(folder),
            *(Path(path) if path else None for path in given),
            trackers=json.loads(trackers),
        )
    except InterruptedTraining as interruption:
        print(interruption, flush=True)
        sys.exit(os.EX_TEMPFAIL)
    except (InputError, TrainingError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    _train_as_one_of_several(*sys.argv[1:])
