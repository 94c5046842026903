"""Samples whose noises are compared: those that a trained model generates, or a dataset's."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dansm.catalogue import Pick
from dansm.config import RunSettings
from dansm.data.pair_store import PairStore
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
    pairs: PairStore | None,
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
        The dataset; needed without a run and pairs.
    pairs
        Those of a pipeline, which are taken in place of a run's.
    draws, count
        How many draws, of each model, of how many samples.

    Raises
    ------
    InputError
        If the store has fewer samples than a draw, or the pairs are fewer than those of all draws
        or begin with other noises than `preferable_noises`.
    """
    if runs:
        each = draws * count
        parts = [run.generate(run.load(), each, k * each) for k, run in enumerate(runs)]
        samples = torch.cat(parts).unflatten(0, (-1, count))
    elif pairs is not None:
        samples = _samples_of(pairs, draws * count).unflatten(0, (draws, count))
    elif len(store) < count:
        raise InputError(f"{store.path}: expected {count} samples, found {len(store)}")
    else:
        orders = [
            torch.randperm(len(store), generator=generator(seed, "pair-samples", draw))
            for draw in range(draws)
        ]
        samples = torch.stack([store.batch(order[:count].numpy()) for order in orders])
    # A pipeline is one model, published without a seed.
    models = [0] if pairs is not None else [run.settings.seed for run in runs]
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez(
            file,
            samples=samples.numpy(),
            models=np.repeat(np.array(models, int), draws),
            match_sizes=np.array(match_sizes),
            seed=np.array(seed),
        )


def _samples_of(pairs: PairStore, count: int) -> Tensor:
    noise = pairs.noise[:count]
    if len(noise) < count or not torch.equal(noise, preferable_noises(count, noise.shape[1:])):
        raise InputError(
            f"{pairs.path}: expected {count} pairs of the preferable noises, found {len(pairs)} "
            "pairs, or of others"
        )
    return pairs.samples[:count]
