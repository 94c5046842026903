"""What matching adds to a training step, on the machine and network that train.

Each round times, one after the other, vanilla training steps and, for every match size, the
matching of batches alone and training steps whose pairs are matched ahead by the thread that
training uses. So what else the machine does hits all alike, and shares are taken within rounds.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from dansm.config import MatchingShare, RunSettings
from dansm.couplings import Greedy, Pairs, make_coupling
from dansm.data.store import Store
from dansm.io.files import atomic_path
from dansm.io.provenance import processor_name
from dansm.io.tables import MATCHING_SHARE_COLUMNS
from dansm.training.prefetching import Prefetcher
from dansm.training.trainer import Trainer, Window

_MOST_BATCHES = 40  # of a pool that are matched in one turn


def measure_matching_share(
    settings: MatchingShare, run: RunSettings, store: Store, path: Path
) -> None:
    """Write a table with one row for each match size and round.

    Its columns are `MATCHING_SHARE_COLUMNS`: ``step_ms``, a vanilla training step; ``match_ms``,
    greedy matching of a batch, with its share of drawing the pool, in the first 40 batches of a
    pool at most (later ones cost less); ``ahead_step_ms``, a training step whose pairs are
    matched ahead.

    Parameters
    ----------
    run
        Of the dataset; its coupling does not matter.
    store
        The dataset.
    """
    vanilla = {"coupling": "independent", "variant": None, "match_size": 0}
    trainer = Trainer(run.model_copy(update=vanilla), store, Path(path).parent)
    device = trainer.accelerator.device
    shape, size = run.shape, run.batch_size
    dimensions = int(np.prod(shape))
    rows: list[dict[str, Any]] = []
    _step_seconds(trainer, 0, settings.seed, settings.steps)  # the first one prepares the others
    for k in range(settings.rounds):
        step = _step_seconds(trainer, 0, settings.seed + k, settings.steps)
        for match_size in settings.match_sizes:
            if 4 * dimensions * match_size > 1e6 * settings.memory_mb:
                continue
            match = _match_seconds(trainer, match_size, settings.seed + k, settings.steps)
            ahead = _step_seconds(trainer, match_size, settings.seed + k, settings.steps)
            milliseconds = (1e3 * seconds for seconds in (step, match, ahead))
            rows.append(
                {"match_size": match_size, "round": k}
                | dict(zip(("step_ms", "match_ms", "ahead_step_ms"), milliseconds, strict=True))
            )
            print(rows[-1], flush=True)
    table = pd.DataFrame(
        rows, columns=["match_size", "round", "step_ms", "match_ms", "ahead_step_ms"]
    )
    table = table.assign(
        dataset=run.dataset,
        process=run.process,
        dimensions=dimensions,
        batch_size=size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        processor=processor_name(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    with atomic_path(path) as partial:
        table[list(MATCHING_SHARE_COLUMNS)].astype(MATCHING_SHARE_COLUMNS).to_csv(
            partial, index=False
        )


def _step_seconds(trainer: Trainer, match_size: int, seed: int, steps: int) -> float:
    """Return the time of a training step after as many others, vanilla for match size 0.

    The steps before let the thread work ahead, as it does in the middle of a training.
    """
    name = "greedy" if match_size else "independent"
    coupling = make_coupling(name, match_size=match_size, seed=seed)
    source: Iterator[Pairs] = coupling.pairs(trainer.batches)
    window = Window()
    with Prefetcher(source, trainer.accelerator.device) as prefetcher:

        def advance() -> None:
            for _ in range(steps):
                trainer.advance(next(prefetcher).pairs, window)

        advance()
        return _seconds(advance, trainer.accelerator.device) / steps


def _match_seconds(trainer: Trainer, match_size: int, seed: int, steps: int) -> float:
    """Return the time of matching a batch, drawing included."""
    device, size = trainer.accelerator.device, trainer.settings.batch_size
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
