"""What is kept of the real images' features, and what it is compared by."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dansm.errors import InputError
from dansm.io.arrays import read_arrays, write_arrays
from dansm.randomness import generator

# How many of the real images' features are stored; the kernel distance, precision and recall are
# over these, the Fréchet distance over all.
KEPT_FEATURES = 10_000
NEIGHBOUR = 3
_BLOCK_ROWS = 1000


@dataclass(frozen=True, eq=False)
class ReferenceFeatures:
    """What is kept of a dataset's real images to compare others with.

    Attributes
    ----------
    count
        How many images mean and covariance are over.
    mean, covariance
        Shapes ``(d,)`` and ``(d, d)``, float64.
    features
        Of at most `KEPT_FEATURES` of the images, drawn without replacement, in their order; shape
        ``(m, d)``.
    extractor
        Identity of the extractor.
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray
    features: np.ndarray
    extractor: str

    @classmethod
    def of(cls, features: np.ndarray, extractor: str = "") -> "ReferenceFeatures":
        """Summarise features of shape ``(n, d)``."""
        return cls.gather([features], len(features), extractor)

    @classmethod
    def gather(
        cls, batches: Iterable[np.ndarray], count: int, extractor: str
    ) -> "ReferenceFeatures":
        """Summarise features that come in batches, ``count`` rows in all, without keeping them."""
        kept_rows = chosen_rows(count, KEPT_FEATURES, "reference-features")
        kept, done = [], 0
        mean: Any = 0.0
        scatter: Any = 0.0
        for batch in batches:
            of_batch = batch.astype(np.float64)
            end = done + len(batch)
            shift = of_batch.mean(axis=0) - mean
            centred = of_batch - of_batch.mean(axis=0)
            # Chan et al. (1979): sums of squares about the means of two sets, joined.
            scatter = scatter + centred.T @ centred
            scatter += np.outer(shift, shift) * (done * len(batch) / end)
            mean = mean + shift * (len(batch) / end)
            first, last = np.searchsorted(kept_rows, [done, end])
            kept.append(batch[kept_rows[first:last] - done])
            done = end
        return cls(count, mean, scatter / (count - 1), np.concatenate(kept), extractor)

    @cached_property
    def radii(self) -> Tensor:
        """Distances of the kept features to their third nearest others, shape (m,)."""
        return neighbour_distances(torch.from_numpy(self.features).double())

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root of the covariance."""
        values, vectors = torch.linalg.eigh(torch.from_numpy(self.covariance))
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def save(self, path: Path) -> None:
        """Write an npz file."""
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        write_arrays(path, arrays, compressed=False)

    @classmethod
    def load(cls, path: Path, extractor: str | None = None) -> "ReferenceFeatures":
        """Read what `save` wrote.

        Parameters
        ----------
        extractor
            Identity of the extractor whose features are to be compared with these; none: any.

        Raises
        ------
        InputError
            If the file is missing, damaged, of another extractor, or holds arrays that do not fit
            each other or are not finite.
        """
        arrays = read_arrays(path, list(cls.__dataclass_fields__), "reference features")
        features, dimensions = arrays["features"], arrays["mean"].shape
        shapes = (arrays["covariance"].shape, features.shape)
        if shapes != (dimensions * 2, (len(features), *dimensions)):
            raise InputError(
                f"{path}: expected mean, covariance and features of shapes (d,), (d, d) and (m, d),"
                f" found shapes {dimensions}, {shapes[0]} and {shapes[1]}"
            )
        found = str(arrays["extractor"])
        if extractor not in (None, found):
            raise InputError(f"{path}: expected features of {extractor}, found those of {found}")
        return cls(**arrays | {"count": int(arrays["count"]), "extractor": found})


def chosen_rows(count: int, most: int, purpose: str) -> np.ndarray:
    """Return ``most`` of ``count`` rows, or all where there are fewer, at random and sorted."""
    order = torch.randperm(count, generator=generator(0, purpose))
    return np.sort(order[:most].numpy())


def neighbour_distances(points: Tensor) -> Tensor:
    """Return each point's distance to its third nearest other point, shape (n,)."""
    # The nearest of all is the point itself.
    nearest = [
        distances.topk(NEIGHBOUR + 1, dim=1, largest=False).values[:, -1]
        for _, distances in distance_blocks(points, points)
    ]
    return torch.cat(nearest)


def distance_blocks(points: Tensor, others: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of rows with their distances to all others, which may be too many for memory."""
    for first in range(0, len(points), _BLOCK_ROWS):
        rows = slice(first, first + _BLOCK_ROWS)
        yield rows, torch.cdist(points[rows], others)
