"""Noise-sample pairs for the t-SNE figure."""

from pathlib import Path

import numpy as np
import torch

from dansm.config import NoiseSamplePairs
from dansm.couplings import make_coupling
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.files import atomic_path
from dansm.randomness import generator


def draw_pairs(settings: NoiseSamplePairs, store: Store, path: Path) -> None:
    """Draw samples, and pair them with random and with matched noises.

    Writes an npz with ``samples``, ``random`` and ``matched``, each of shape
    ``(draws, pairs, channels, height, width)``, and ``match_size``.

    Raises
    ------
    InputError
        If the store has fewer samples than pairs are asked for.
    """
    if len(store) < settings.pairs:
        raise InputError(f"{store.path}: expected {settings.pairs} samples, found {len(store)}")
    samples, random, matched = [], [], []
    for draw in range(settings.draws):
        seed = settings.seed + draw
        order = torch.randperm(len(store), generator=generator(seed, "pair-samples"))
        batch = store.batch(order[: settings.pairs].numpy())
        samples.append(batch)
        random.append(make_coupling("independent", seed=seed).match(batch))
        greedy = make_coupling("greedy", match_size=settings.match_size, seed=seed)
        matched.append(greedy.match(batch))
    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(
            file,
            samples=torch.stack(samples).numpy(),
            random=torch.stack(random).numpy(),
            matched=torch.stack(matched).numpy(),
            match_size=np.array(settings.match_size),
        )
