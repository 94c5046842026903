"""What matching adds to a training step, on the machine and network that train.

Each round times, one after the other, vanilla training steps and, for every match size, the
matching of batches alone and training steps whose pairs are matched ahead by the thread that
training uses. So what else the machine does hits all alike, and shares are taken within rounds.
"""

import time
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch

from dansm.catalogue import Pick
from dansm.config import MatchingShare, RunSettings
from dansm.couplings import Greedy, Independent
from dansm.data.store import Store
from dansm.io.load import OthersLoad
from dansm.io.provenance import processor_name
from dansm.io.tables import MATCHING_SHARE_COLUMNS, write_table
from dansm.training.prefetching import Prefetcher
from dansm.training.trainer import Trainer

_MOST_BATCHES = 40  # of a pool that are matched in one turn


def measure_matching_share(
    settings: MatchingShare, run: RunSettings, store: Store, path: Path
) -> None:
    """Write a table with one row for each match size and round.

    Its columns are `MATCHING_SHARE_COLUMNS`: ``step_ms``, a vanilla training step; ``match_ms``,
    greedy matching of a batch, with its share of drawing the pool, in the first 40 batches of a
    pool at most (later ones cost less); ``ahead_step_ms``, a training step whose pairs are
    matched ahead; ``busy_others``, how many cores other processes have kept busy in the round.

    Parameters
    ----------
    run
        Of the dataset; its coupling and where it starts do not matter.
    store
        The dataset.
    """
    rows = []
    for turn in turns(settings, run, store, Path(path).parent):
        print(turn, flush=True)
        rows.append(turn)
    write_table(path, rows, MATCHING_SHARE_COLUMNS)


def turns(
    settings: MatchingShare, run: RunSettings, store: Store, folder: Path
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `measure_matching_share` as they are measured.

    ``folder`` is a run's that need not exist; nothing of a training is kept there.
    """
    vanilla = {"coupling": Pick("independent"), "start": None}
    trainer = Trainer(run.model_copy(update=vanilla), store, folder)
    device = trainer.device
    dimensions = prod(run.shape)
    same = {
        "dataset": run.dataset,
        "process": run.process.text,
        "dimensions": dimensions,
        "batch_size": run.batch_size,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    _step_seconds(trainer, 0, settings.seed, settings.steps)  # the first one prepares the others
    for k in range(settings.rounds):
        load = OthersLoad()
        step = _step_seconds(trainer, 0, settings.seed + k, settings.steps)
        for match_size in settings.match_sizes:
            if 4 * dimensions * match_size > 1e6 * settings.memory_mb:
                continue
            match = _match_seconds(trainer, match_size, settings.seed + k, settings.steps)
            ahead = _step_seconds(trainer, match_size, settings.seed + k, settings.steps)
            yield same | {
                "match_size": match_size,
                "round": k,
                "step_ms": 1e3 * step,
                "match_ms": 1e3 * match,
                "ahead_step_ms": 1e3 * ahead,
                "busy_others": load.cores(),
            }


def _step_seconds(trainer: Trainer, match_size: int, seed: int, steps: int) -> float:
    """Return the time of a training step after as many others, vanilla for match size 0.

    The steps before let the thread work ahead, as it does in the middle of a training.
    """
    coupling = Greedy(match_size, seed) if match_size else Independent(seed=seed)
    with Prefetcher(coupling.pairs(trainer.batches), trainer.device) as prefetcher:

        def advance() -> None:
            for _ in range(steps):
                trainer.advance(next(prefetcher).pairs)

        advance()
        return _seconds(advance, trainer.device) / steps


def _match_seconds(trainer: Trainer, match_size: int, seed: int, steps: int) -> float:
    """Return the time of matching a batch, drawing included."""
    device, size = trainer.device, trainer.settings.batch_size
    coupling = Greedy(match_size, seed)
    samples = next(iter(trainer.batches)).samples
    whole = match_size // size

    def match(count: int) -> float:
        def batches() -> None:
            for _ in range(count):
                coupling.match(samples)

        return _seconds(batches, device)

    if whole < 2:  # pools are drawn within batches
        return match(steps) / steps
    # The first batch comes with a new pool, the others take from it.
    first, others = match(1), min(whole, _MOST_BATCHES) - 1
    matching = match(others) / others
    return matching + max(0.0, first - matching) * size / match_size


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    started = now()
    work()
    return now() - started
