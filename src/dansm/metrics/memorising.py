"""Memorising: whether generated images are nearer to training images than to held-out ones.

Where nothing is remembered, training and held-out images are alike to a model, and as many of
each are nearest to its images (a test for data copying by nearest neighbours, as in Meehan,
Chaudhuri and Dasgupta, 2020). Only comparisons of two distances of one image count: distances by
themselves would call blurred images copies, since these are near to all others.

Classifiers are trained on the training images and may treat these alone in a special way, and a
published test set may be of other people. So what held-out images are, compared with training
images and each other, stands beside every value, and not just one half.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dansm.catalogue import METRICS
from dansm.data.store import Store
from dansm.io.tables import DISTANCE_COLUMNS, write_table
from dansm.metrics.distances import Measurement
from dansm.metrics.statistics import chosen_rows
from dansm.randomness import generator

# How many images of a set, and how many held-out ones, are compared; how many of each kind of real
# images they are compared with; to how many pixels a side larger images are averaged before. A set
# takes 5 s on one CPU core beside all of CIFAR-10.
COMPARED, HELD_OUT = 500, 1000
SEARCHED = 50_000
SIDE = 32
# Which share of held-out images counts as copies of training images, by definition.
COPIES = 0.05
SHOWN = 8  # images that look most like copies are kept
_BLOCK = 4096


class Nearest(NamedTuple):
    """The nearest of some real images to each of n images: which it is, and how far.

    Shapes ``(n,)``; distances are float64.
    """

    rows: Tensor
    distances: Tensor


class Compared(NamedTuple):
    """The real images nearest to each of n images.

    Attributes
    ----------
    training
        Of all training images.
    equal
        Of as many training images as there are held-out ones.
    held_out
        Of the held-out images.
    """

    training: Nearest
    equal: Nearest
    held_out: Nearest

    @property
    def ratios(self) -> Tensor:
        """Distance to the nearest training image over that to the nearest held-out one."""
        near, far = self.training.distances, self.held_out.distances
        return torch.where(near == far, 1.0, near / far)  # also where both are 0


class RealImages:
    """Real images in one space, training and held-out ones, and what held-out ones have to be.

    Of the larger set, as many points as the other has are chosen by a fixed stream wherever equal
    numbers matter.

    Parameters
    ----------
    name
        Of the space: ``pixels``, or an extractor.
    training, held_out
        Points of shapes ``(n, d)`` and ``(m, d)``, of any type of numbers.
    rows
        Which images of their stores these are; all, unless given.

    Raises
    ------
    ValueError
        If there are fewer than two of either, or of different dimensions.
    """

    def __init__(
        self,
        name: str,
        training: np.ndarray,
        held_out: np.ndarray,
        rows: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        shapes = training.shape, held_out.shape
        self.count = min(len(training), len(held_out))
        if self.count < 2 or shapes[0][1:] != shapes[1][1:] or training.ndim != 2:
            raise ValueError(f"{name}: expected (n, d) and (m, d), n and m > 1, found {shapes}")
        self.name, self.training, self.held_out = name, training, held_out
        self.rows = rows or (np.arange(len(training)), np.arange(len(held_out)))
        self._order, order = (
            torch.randperm(len(points), generator=generator(0, f"memorising-{kind}")).numpy()
            for kind, points in (("training", training), ("held-out", held_out))
        )
        self._held_out = order[: self.count]

    def compare(self, points: Tensor, *, own: bool = False) -> Compared:
        """Return the real images nearest to others.

        Parameters
        ----------
        points
            Of the space, shape ``(n, d)``; all is computed on their device.
        own
            The points are the first of the held-out images: each is compared with the others, and
            with one training image fewer, so that numbers are equal.
        """
        count = self.count - own
        equal = nearest(points, self.training, self._order[:count])
        rest = nearest(points, self.training, self._order[count:])
        skip = torch.arange(len(points), device=points.device) if own else None
        held_out = nearest(points, self.held_out, self._held_out, skip)
        first = equal.distances <= rest.distances
        training = (torch.where(first, a, b) for a, b in zip(equal, rest, strict=True))
        return Compared(Nearest(*training), equal, held_out)

    @cached_property
    def of_held_out(self) -> Compared:
        """What held-out images, at most `HELD_OUT`, are beside training images and each other."""
        chosen = self.held_out[self._held_out[:HELD_OUT]]
        return self.compare(torch.from_numpy(chosen), own=True)

    @cached_property
    def copy_ratio(self) -> float:
        """The ratio of distances up to which the share `COPIES` of held-out images is."""
        return self.of_held_out.ratios.quantile(COPIES).item()


def nearer_to_training(found: Compared, real: RealImages) -> float:
    """Return the share of images nearer to a training image than to any held-out image.

    Both kinds are equally many. Images as near to both count half.
    """
    near, far = found.equal.distances, found.held_out.distances
    return ((near < far).double() + (near == far).double() / 2).mean().item()


def copies(found: Compared, real: RealImages) -> float:
    """Return the share of images that are near to a training image as few held-out ones are.

    It counts those whose distance to the nearest of all training images, over that to the nearest
    held-out image, is at most the ratio up to which 5 % of held-out images are.
    """
    return (found.ratios <= real.copy_ratio).double().mean().item()


def measure_memorising(found: Compared, real: RealImages) -> list[Measurement]:
    """Return the metrics of `METRICS` that compare training with held-out images."""
    return [
        Measurement(name, entry.load()(found, real), len(found.ratios))
        for name, entry in METRICS.items()
        if entry.memorising
    ]


def nearest(
    points: Tensor, others: np.ndarray, rows: np.ndarray, skip: Tensor | None = None
) -> Nearest:
    """Return the nearest of some other points to each point.

    They are read in blocks, so that they need not fit into memory as numbers with a fraction.
    Distances are computed once more in float64 for the nearest, since those by matrix products
    lose the digits of small ones.

    Parameters
    ----------
    points
        Shape ``(n, d)``.
    others
        Shape ``(m, d)``.
    rows
        Those of the others among which is searched; without any, all is infinitely far.
    skip
        For each point a place in ``rows``, shape ``(n,)``, that is left out.
    """
    ours = points.float()
    best = torch.full((len(points),), torch.inf, device=points.device)
    at = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    for first, block in _blocks(others, rows, points.device):
        # Of squared distances, what differs between the others.
        found = torch.addmm(block.square().sum(dim=1), ours, block.T, alpha=-2)
        if skip is not None:
            here = ((skip >= first) & (skip < first + len(block))).nonzero().squeeze(1)
            found[here, skip[here] - first] = torch.inf
        values, places = found.min(dim=1)
        nearer = values < best
        best = torch.where(nearer, values, best)
        at = torch.where(nearer, places + first, at)
    if not len(rows):
        return Nearest(at - 1, best.double())
    chosen = rows[at.cpu().numpy()]
    theirs = torch.from_numpy(others[chosen]).to(points.device)
    distances = (points.double() - theirs.double()).square().sum(dim=1).sqrt()
    distances[best == torch.inf] = torch.inf
    return Nearest(torch.from_numpy(chosen).to(points.device), distances)


def _blocks(
    points: np.ndarray, rows: np.ndarray, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    for first in range(0, len(rows), _BLOCK):
        yield first, torch.from_numpy(points[rows[first : first + _BLOCK]]).to(device).float()


def pixels(images: Tensor) -> Tensor:
    """Return images as points: their pixels, averaged where there are more than 32 a side.

    Parameters
    ----------
    images
        Shape ``(n, channels, height, width)``.

    Returns
    -------
    Tensor
        Shape ``(n, d)``; float32 where averaged, or else of the images' type.
    """
    sides = [min(side, SIDE) for side in images.shape[2:]]
    if sides != [*images.shape[2:]]:
        images = adaptive_avg_pool2d(images.float(), sides)
    return images.flatten(1)


def real_pixels(store: Store, held_out: Store) -> RealImages:
    """Return the images of two pixel stores, of each at most 50 000, chosen by a fixed stream."""
    chosen = [chosen_rows(len(images), SEARCHED, "memorising") for images in (store, held_out)]
    points = []
    for images, rows in zip((store, held_out), chosen, strict=True):
        parts = (images.array[rows[k : k + _BLOCK]] for k in range(0, len(rows), _BLOCK))
        points.append(torch.cat([pixels(torch.from_numpy(np.array(part))) for part in parts]))
    return RealImages("pixels", *(part.numpy() for part in points), tuple(chosen))


class Memorising:
    """The real images of a dataset in pixels and in features, to compare generated ones with.

    Parameters
    ----------
    store, held_out
        Pixel stores of the training images and of the held-out ones.
    features
        By extractor, features of images of both, shapes ``(n, d)`` and ``(m, d)``.
    """

    def __init__(
        self, store: Store, held_out: Store, features: Mapping[str, tuple[np.ndarray, np.ndarray]]
    ) -> None:
        self.stores = store, held_out
        self.spaces = [real_pixels(store, held_out)]
        self.spaces += [RealImages(name, *points) for name, points in features.items()]

    def measure(self, images: Tensor, features: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """Return rows, with the space as ``feature_extractor``, of a set of generated images.

        Parameters
        ----------
        images
            As stores hold them, shape ``(n, channels, height, width)``; the first `COMPARED` count.
        features
            Of the same images, by extractor.
        """
        points = {"pixels": pixels(images)}
        points |= {name: torch.from_numpy(found) for name, found in features.items()}
        return [
            row
            for real in self.spaces
            for row in _rows(real, real.compare(points[real.name][:COMPARED]))
        ]

    def of_held_out(self) -> list[dict[str, Any]]:
        """Return such rows of the held-out images themselves."""
        return [row for real in self.spaces for row in _rows(real, real.of_held_out)]

    def nearest_images(self, images: Tensor) -> dict[str, np.ndarray]:
        """Return the images that look most like copies, by their pixels, with their neighbours.

        Returns
        -------
        dict
            ``nearest``, shape ``(3, k, channels, height, width)``: k images, the nearest training
            image of each, and the nearest held-out one; ``nearest-rows``, shape ``(3, k)``: which
            of the images these are, and rows of the stores; ``nearest-ratios``, shape ``(k,)``.
        """
        real = self.spaces[0]
        found = real.compare(pixels(images[:COMPARED]))
        chosen = found.ratios.argsort(stable=True)[:SHOWN]
        neighbours = (found.training, found.held_out)
        rows = [chosen.cpu().numpy()]
        shown = [images[chosen].cpu().numpy()]
        for store, which, near in zip(self.stores, real.rows, neighbours, strict=True):
            rows.append(which[near.rows[chosen].cpu().numpy()])
            shown.append(np.stack([store.array[int(row)] for row in rows[-1]]))
        return {
            "nearest": np.stack(shown),
            "nearest-rows": np.stack(rows),
            "nearest-ratios": found.ratios[chosen].cpu().numpy(),
        }


def _rows(real: RealImages, found: Compared) -> list[dict[str, Any]]:
    return [
        {"feature_extractor": real.name, **measurement._asdict()}
        for measurement in measure_memorising(found, real)
    ]


def compare_held_out(memorising: Memorising, *, dataset: str, path: Path) -> None:
    """Write a table with `DISTANCE_COLUMNS`: what held-out images themselves are."""
    about = {"dataset": dataset, "process": "real_held_out", "image_set": 0}
    write_table(path, [about | row for row in memorising.of_held_out()], DISTANCE_COLUMNS)
