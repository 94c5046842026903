"""Images a second in training: precision, memory format and compilation, one after the other.

    python benchmarks/train_step.py --dataset cifar10
    python benchmarks/train_step.py --dataset cifar10 --batch-size 8 --steps 3   # on a CPU

Network, batch and learning rate are those of the dataset's first run in the configuration; the
samples are random, since speed does not depend on them. Each way is a process of its own, as a job
is, so that its peak memory is its own, too. In every round all of them have their turn.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer

from dansm.config import RunSettings, load_config
from dansm.data.store import open_store, write_store
from dansm.io.provenance import processor_name
from dansm.training.statistics import peak_memory
from dansm.training.trainer import Trainer


def main(
    dataset: str = "cifar10",
    batch_size: Annotated[int | None, typer.Option(help="None: the recipe's")] = None,
    steps: Annotated[int, typer.Option(help="Timed in a turn, after three that prepare")] = 20,
    rounds: int = 3,
    compiled: Annotated[bool, typer.Option(help="Also by torch.compile: minutes on a CPU")] = True,
    threads: int = torch.get_num_threads(),
) -> None:
    """Measure, and print the medians over rounds with their ratios to the first way."""
    config = load_config(Path("config/config.yaml"))
    settings = config.run_settings(config.runs_of(dataset)[0], seed=0)
    if batch_size is not None:
        settings = settings.model_copy(update={"batch_size": batch_size})
    cuda = torch.cuda.is_available()
    chosen = ways(bf16=cuda, compiled=compiled)
    print(
        f"{dataset}, {settings.process.text}, shape {settings.shape}, batch {settings.batch_size}, "
        f"{torch.cuda.get_device_name() if cuda else processor_name()}, {threads} threads, "
        f"torch {torch.__version__}; convolutions of fp32 in TF32: "
        f"{cuda and torch.backends.cudnn.allow_tf32}",
        flush=True,
    )
    rates: dict[str, list[float]] = {name: [] for name in chosen}
    first: dict[str, float] = {}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in chosen.items():
            tuned = settings.model_copy(update=way)
            measured = in_a_process(measure, tuned, steps, rounds=1, threads=threads)
            first.setdefault(name, measured.first)  # later ones find what was compiled
            memory[name] = measured.memory
            rates[name].append(settings.batch_size / measured.seconds[0])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    plain_rate = next(iter(medians.values()))
    print("way                             images/s  (lowest, highest)  ratio  first step  memory")
    for name, rate in medians.items():
        spread = f"({min(rates[name]):.1f}, {max(rates[name]):.1f})"
        print(
            f"{name:30}{rate:10.1f}  {spread:17}  {rate / plain_rate:5.2f}  "
            f"{first[name]:8.1f} s  {memory[name] / 2**30:.2f} GiB"
        )


def ways(*, bf16: bool, compiled: bool) -> dict[str, dict[str, Any]]:
    """Return settings by what the printed table calls them, plain fp32 first."""
    found = {}
    for half, last, fused in product([False, True], repeat=3):
        if (half and not bf16) or (fused and not compiled):
            continue
        words = ["bf16" if half else "fp32"]
        words += ["channels last"] * last + ["compiled"] * fused
        found[", ".join(words)] = {
            "mixed_precision": "bf16" if half else "no",
            "channels_last": last,
            "compile": fused,
        }
    return found


class Measured(NamedTuple):
    """Seconds of the first step, which prepares, and of a later one by rounds; bytes at most."""

    first: float
    seconds: list[float]
    memory: float


def in_a_process(work: Callable[..., Measured], *arguments: Any, **options: Any) -> Measured:
    """Return what some work does in a process of its own.

    As accelerate's precision is that of a process, and so is its peak memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as turn:
        return turn.submit(work, *arguments, **options).result()


def measure(settings: RunSettings, steps: int, *, rounds: int, threads: int) -> Measured:
    """Measure rounds of so many training steps, after three that prepare."""
    torch.set_num_threads(threads)
    with random_store(settings) as folder:
        unflipped = settings.model_copy(update={"horizontal_flips": False})
        trainer = Trainer(unflipped, open_store(folder), folder / "run")
        pairs = trainer.coupling.pairs(trainer.batches)

        def advance(count: int) -> float:
            started = time.perf_counter()
            for _ in range(count):
                trainer.advance(next(pairs))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            return time.perf_counter() - started

        first = advance(1)
        advance(2)
        return Measured(first, [advance(steps) / steps for _ in range(rounds)], peak_memory())


@contextmanager
def random_store(settings: RunSettings) -> Iterator[Path]:
    """Yield the folder, removed at the end, of a store with one batch of a run's samples."""
    samples = np.random.default_rng(0).standard_normal(
        (settings.batch_size, *settings.shape), np.float32
    )
    with tempfile.TemporaryDirectory() as folder:
        write_store(
            Path(folder),
            [samples],
            count=len(samples),
            shape=settings.shape,
            dtype="float32",
            value_range=None,
            source="random",
            licence="none",
        )
        yield Path(folder)


if __name__ == "__main__":
    typer.run(main)
