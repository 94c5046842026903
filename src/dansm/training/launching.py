"""Training with as many processes as a job has GPUs, each with a pool of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from dansm.config import RunSettings
from dansm.data.store import open_store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.run_folder import STATE, TRAINING
from dansm.training.trainer import heeding_sigterm, train


def launch_training(
    settings: RunSettings,
    store: Path,
    folder: Path,
    potentials: Path | None,
    processes: int,
    threads: int,
) -> None:
    """Train one run, or continue it; several processes are started by torchrun.

    Parameters
    ----------
    settings, folder, potentials
        As for `dansm.training.trainer.Trainer`.
    store
        Folder of the dataset's store.
    processes
        How many share each batch.
    threads
        Of all processes together.

    Raises
    ------
    TrainingError
        If a process failed; its own error stands before.
    InterruptedTraining
        If told to end by SIGTERM; the state is saved.
    """
    if processes == 1:
        train(settings, open_store(store), folder, potentials)
        return
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc_per_node={processes}", "-m", "dansm.training.launching"]
    command += [settings.canonical_json(), str(store), str(folder), str(potentials or "")]
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, threads // processes))}
    if torch.cuda.device_count() < processes:  # only at a reduced scale
        environment["ACCELERATE_USE_CPU"] = "true"
    state = folder / TRAINING / STATE
    before = _time_of(state)
    # The processes heed SIGTERM themselves, which Slurm sends to all, and torchrun passes on.
    with heeding_sigterm() as told_to_end:
        code = subprocess.run(command, env=environment).returncode
    if code and told_to_end and _time_of(state) != before:
        raise InterruptedTraining(f"{folder}: told to end; the state is saved in {state}")
    if code:
        raise TrainingError(f"{folder}: one of {processes} processes failed, see above")


def _time_of(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def _train_as_one_of_several(settings: str, store: str, folder: str, potentials: str) -> None:
    try:
        train(
            RunSettings.model_validate_json(settings),
            open_store(Path(store)),
            Path(folder),
            Path(potentials) if potentials else None,
        )
    except InterruptedTraining as interruption:
        print(interruption, flush=True)
        sys.exit(os.EX_TEMPFAIL)
    except (InputError, TrainingError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)


if __name__ == "__main__":
    _train_as_one_of_several(*sys.argv[1:])
