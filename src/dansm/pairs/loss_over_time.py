"""Loss of trained models over time, on random, matched and preferable noises."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dansm.io.files import atomic_path
from dansm.io.tables import LOSS_COLUMNS
from dansm.pairs.draws import TrainedRun
from dansm.pairs.paths import PREFERABLE, RANDOM, Kind, PairDraws
from dansm.processes import RectifiedFlow
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
    path
        The table.
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
    edges = np.linspace(RectifiedFlow().epsilon, 1, bins + 1).tolist()
    matched = Kind("matched", "greedy", match_size)
    for run in runs:
        network = run.load()
        samples = run.generate(network, count)
        pairs = PairDraws(samples[None], True, (match_size,), seed)
        for kind in (RANDOM, matched, PREFERABLE):
            noise = pairs.noises(kind)[0]
            for number, (low, high) in enumerate(itertools.pairwise(edges)):
                part = torch.rand(len(samples), generator=generator(seed, "part", number))
                losses = _losses(run, network, samples, noise, low + (high - low) * part)
                rows.append(
                    {
                        "dataset": run.settings.dataset,
                        "coupling": run.settings.coupling,
                        "match_size": run.settings.match_size,
                        "seed": run.settings.seed,
                        "kind": kind.name,
                        "t_low": low,
                        "t_high": high,
                        "pairs": len(losses),
                        "loss": float(losses.mean()),
                        "standard_error": float(losses.std()) / math.sqrt(len(losses)),
                    }
                )
    with atomic_path(path) as partial:
        pd.DataFrame(rows, columns=list(LOSS_COLUMNS)).to_csv(partial, index=False)


def _losses(
    run: TrainedRun, network: nn.Module, samples: Tensor, noise: Tensor, times: Tensor
) -> Tensor:
    """Return the loss of each pair at its time, shape (n,), float64."""
    device, losses = next(network.parameters()).device, []
    parts = (values.split(run.batch_size) for values in (samples, noise, times))
    for x, z, t in zip(*parts, strict=True):
        with torch.inference_mode():
            errors = RectifiedFlow().squared_errors(
                lambda points, time: network(points, time).sample,
                x.to(device),
                z.to(device),
                t.to(device),
            )
        losses.append(errors.flatten(1).double().mean(1).cpu())
    return torch.cat(losses)
