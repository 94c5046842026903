"""Loss of trained models over time, on random, matched and preferable noises."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dansm.io.tables import LOSS_COLUMNS, run_columns, write_table
from dansm.pairs.draws import TrainedRun
from dansm.pairs.paths import PREFERABLE, RANDOM, Kind, PairDraws
from dansm.processes.base import Process
from dansm.processes.losses import squared_error
from dansm.processes.objective import make_process
from dansm.randomness import generator


def measure_loss_over_time(
    runs: Sequence[TrainedRun], path: Path, *, count: int, match_size: int, bins: int, seed: int
) -> None:
    """Write a table of `LOSS_COLUMNS`: the loss of models in even parts of the times of training.

    Each model is shown samples that it generates itself, and all kinds of noise with these same
    samples, at the same times: random, matched and preferable. The loss is a pair's mean squared
    error of the velocity per dimension; ``standard_error`` is that of its mean over pairs.

    Parameters
    ----------
    runs
        Finished runs of rectified flow.
    count
        Pairs of each model.
    match_size
        Of the matched noises.
    bins
        Parts of time.
    seed
        Of noises and times.
    """
    rows = []
    matched = Kind("matched", "greedy", match_size)
    for run in runs:
        network, process = run.load(), make_process(run.settings.process)
        edges = np.linspace(process.epsilon, 1, bins + 1).tolist()
        samples = run.generate(network, count)
        pairs = PairDraws(samples[None], (run.settings.seed,), (match_size,), seed)
        for kind in (RANDOM, matched, PREFERABLE):
            noise = pairs.noises(kind)[0]
            for number, (low, high) in enumerate(itertools.pairwise(edges)):
                part = torch.rand(len(samples), generator=generator(seed, "part", number))
                losses = _losses(run, network, process, samples, noise, low + (high - low) * part)
                rows.append(
                    {
                        **run_columns(run.name, run.settings),
                        "kind": kind.name,
                        "t_low": low,
                        "t_high": high,
                        "pairs": len(losses),
                        "loss": float(losses.mean()),
                        "standard_error": float(losses.std()) / math.sqrt(len(losses)),
                    }
                )
    write_table(path, rows, LOSS_COLUMNS)


def _losses(
    run: TrainedRun,
    network: nn.Module,
    process: Process,
    samples: Tensor,
    noise: Tensor,
    times: Tensor,
) -> Tensor:
    """Return the loss of each pair at its time, shape (n,), float64."""
    device, losses = next(network.parameters()).device, []
    parts = (values.split(run.batch_size) for values in (samples, noise, times))
    for x, z, t in zip(*parts, strict=True):
        point = process.point(x.to(device), z.to(device), t.to(device))
        with torch.inference_mode():
            prediction = network(point.input, point.condition).sample
            errors = squared_error(prediction, point.target)
        losses.append(errors.flatten(1).double().mean(1).cpu())
    return torch.cat(losses)
