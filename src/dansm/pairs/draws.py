"""Samples whose noises are compared: those that a trained model generates, or a dataset's."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dansm.catalogue import Pick
from dansm.config import RunSettings
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.models.trained import load_model
from dansm.pairs.paths import preferable_noises
from dansm.processes.samplers import Sampler
from dansm.randomness import generator


class TrainedRun(NamedTuple):
    """A finished run by its name, and how many samples it makes at a time."""

    name: str
    settings: RunSettings
    folder: Path
    batch_size: int

    def load(self) -> nn.Module:
        """Return its model; see `dansm.models.trained.load_model`."""
        return load_model(self.folder, self.settings)

    def generate(self, network: nn.Module, count: int, first: int = 0) -> Tensor:
        """Return what the model makes of preferable noises by RK45, in its own space."""
        device = next(network.parameters()).device
        sampler = Sampler(self.settings.process, Pick("rk45"))
        parts = []
        for noise in preferable_noises(count, self.settings.shape, first).split(self.batch_size):
            with torch.inference_mode():
                samples, _ = sampler.sample(
                    lambda points, times: network(points, times).sample, noise.to(device)
                )
            parts.append(samples.cpu())
        return torch.cat(parts)


def draw_pairs(
    path: Path,
    *,
    runs: Sequence[TrainedRun],
    store: Store | None,
    draws: int,
    count: int,
    match_sizes: Sequence[int],
    seed: int,
) -> None:
    """Write the samples of a dataset's pairs, and what their noises are drawn from.

    The npz holds ``samples``, float32 of shape (draws, n, channels, height, width), ``models`` (the
    seeds of those that generated the draws), ``match_sizes`` and ``seed``: those of `PairDraws`.

    Parameters
    ----------
    runs
        The models that generate the samples, one of each seed; none takes them from the store.
    store
        The dataset; needed without a run.
    draws, count
        How many draws, of each model, of how many samples.

    Raises
    ------
    InputError
        If the store has fewer samples than a draw.
    """
    if runs:
        each = draws * count
        parts = [run.generate(run.load(), each, k * each) for k, run in enumerate(runs)]
        samples = torch.cat(parts).unflatten(0, (-1, count))
    elif len(store) < count:
        raise InputError(f"{store.path}: expected {count} samples, found {len(store)}")
    else:
        orders = [
            torch.randperm(len(store), generator=generator(seed, "pair-samples", draw))
            for draw in range(draws)
        ]
        samples = torch.stack([store.batch(order[:count].numpy()) for order in orders])
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(
            file,
            samples=samples.numpy(),
            models=np.repeat(np.array([run.settings.seed for run in runs], int), draws),
            match_sizes=np.array(match_sizes),
            seed=np.array(seed),
        )
