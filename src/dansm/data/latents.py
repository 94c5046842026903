"""Latent datasets: a pixel store, encoded."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dansm.data.store import Store, write_store
from dansm.errors import InputError


def write_latents(
    store: Store,
    encode: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    path: Path,
    *,
    source: str,
    batch_size: int,
) -> None:
    """Encode every image of a store into a store of half-precision latents.

    Parameters
    ----------
    encode
        Maps images in [-1, 1], shape ``(n, channels, height, width)``, to latents.
    shape
        Shape that one sample's latents must have.

    Raises
    ------
    InputError
        If the latents have another shape or are not finite.
    """

    def blocks() -> Iterator[np.ndarray]:
        for first in range(0, len(store), batch_size):
            rows = np.arange(first, min(first + batch_size, len(store)))
            latents = encode(store.batch(rows))
            if tuple(latents.shape[1:]) != tuple(shape):
                raise InputError(
                    f"{path.name}: the autoencoder gives latents of shape "
                    f"{tuple(latents.shape[1:])}, the dataset's config expects {tuple(shape)}"
                )
            yield latents.to(torch.float16).cpu().numpy()

    write_store(
        path,
        blocks(),
        count=len(store),
        shape=shape,
        dtype="float16",
        value_range=None,
        source=source,
        licence=store.meta["licence"],
        labels=store.labels,
    )
