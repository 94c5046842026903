"""What sets of features and class probabilities are compared by, in float64 on the CPU."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dansm.catalogue import EXTRACTORS, METRICS
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.statistics import (
    KEPT_FEATURES,
    NEIGHBOUR,
    ReferenceFeatures,
    distance_blocks,
    neighbour_distances,
)
from dansm.randomness import generator

KERNEL_SUBSETS = 20
KERNEL_SUBSET_SIZE = 1000
SCORE_PARTS = 10


class Measurement(NamedTuple):
    """A value of a metric, and how many generated images it is over."""

    metric: str
    value: float
    n_samples: int


def measure(
    found: Features, reference: ReferenceFeatures, extractor: Extractor, *, everything: bool
) -> list[Measurement]:
    """Return what generated images are in each of `METRICS`, beside real ones.

    Parameters
    ----------
    found
        What the extractor found in the generated images.
    everything
        Also the metrics that not every snapshot has. Of scores over classes there is the
        extractor's own.
    """
    foreign = {entry.score for entry in EXTRACTORS.values()} - {extractor.score}
    foreign |= {name for name, entry in METRICS.items() if entry.memorising}
    equal = found.take(slice(KEPT_FEATURES))
    rows = []
    for name, entry in METRICS.items():
        if name not in foreign and (everything or entry.every_snapshot):
            images = equal if entry.equal_numbers else found
            value = entry.load()(images, reference)
            rows.append(Measurement(name, value, len(images.features)))
    _precision_recall.cache_clear()  # or the features would stay in memory
    return rows


def frechet_distance(found: Features, reference: ReferenceFeatures) -> float:
    """Return the Fréchet distance of Gaussians fitted to two sets of features.

    It is called FID only if the features are Inception's (Heusel et al., 2017). The trace of
    ``(Σ₁ Σ₂)^½`` is that of ``(Σ₂^½ Σ₁ Σ₂^½)^½``, whose eigenvalues are real and cost a tenth of a
    general matrix's square root. Of fewer features than dimensions they are singular values of the
    centred features times ``Σ₂^½``, which cost next to nothing.

    Raises
    ------
    ValueError
        If features are not finite, or fewer than two.
    """
    features = found.features
    _check(features)
    mine = ReferenceFeatures.of(features)
    count, dimensions = features.shape
    if count < dimensions:
        centred = torch.from_numpy(features - mine.mean)
        cross = torch.linalg.svdvals(centred @ reference.root).sum().item() / (count - 1) ** 0.5
    else:
        product = reference.root @ torch.from_numpy(mine.covariance) @ reference.root
        cross = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum().item()
    means = np.square(mine.mean - reference.mean).sum()
    traces = np.trace(mine.covariance) + np.trace(reference.covariance)
    return float(means + traces - 2 * cross)


def kernel_distance(found: Features, reference: ReferenceFeatures) -> float:
    """Return the kernel distance (KID, Bińkowski et al., 2018), mean over 20 random subsets.

    Each is of at most 1 000 images a side, the real ones from those that the reference keeps.

    Raises
    ------
    ValueError
        If features are not finite, or fewer than two.
    """
    _check(found.features)
    sides = [torch.from_numpy(rows).double() for rows in (found.features, reference.features)]
    size = min(len(sides[0]), len(sides[1]), KERNEL_SUBSET_SIZE)
    stream = generator(0, "kernel-distance")
    total = 0.0
    for _ in range(KERNEL_SUBSETS):
        x, y = (rows[torch.randperm(len(rows), generator=stream)[:size]] for rows in sides)
        # The unbiased estimate leaves out each image's kernel with itself.
        within = sum(kernel.sum() - kernel.trace() for kernel in (_kernel(x, x), _kernel(y, y)))
        total += float(within / (size * (size - 1)) - 2 * _kernel(x, y).mean())
    return total / KERNEL_SUBSETS


def precision(found: Features, reference: ReferenceFeatures) -> float:
    """Return improved precision (Kynkäänniemi et al., 2019, equations 1 and 2).

    It is the share of generated images within a real image's distance to its third nearest real
    neighbour. The real images are those that the reference keeps.

    Raises
    ------
    ValueError
        If features are not finite, or fewer than four.
    """
    return _precision_recall(found, reference)[0]


def recall(found: Features, reference: ReferenceFeatures) -> float:
    """Return improved recall: `precision` with real and generated images exchanged."""
    return _precision_recall(found, reference)[1]


@lru_cache(maxsize=1)
def _precision_recall(found: Features, reference: ReferenceFeatures) -> tuple[float, float]:
    for rows in (found.features, reference.features):
        _check(rows, NEIGHBOUR + 1)
    generated, real = (
        torch.from_numpy(rows).double() for rows in (found.features, reference.features)
    )
    radii = neighbour_distances(generated)
    precise = 0
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for rows, distances in distance_blocks(generated, real):
        precise += int((distances <= reference.radii).any(dim=1).sum())
        recalled |= (distances <= radii[rows, None]).any(dim=0)
    return precise / len(generated), recalled.double().mean().item()


def classifier_score(found: Features, reference: ReferenceFeatures) -> float:
    """Return ``exp E KL(p(y|x) ‖ p(y))``, mean over ten parts of the images.

    It is called inception score only if the classes are Inception's (Salimans et al., 2016). Every
    tenth image makes a part, so that images sorted by class do no harm. The real images do not
    matter.

    Raises
    ------
    ValueError
        If probabilities are not finite, or of fewer than two images.
    """
    probabilities = found.probabilities
    _check(probabilities)
    scores = []
    for first in range(min(SCORE_PARTS, len(probabilities))):
        p = torch.from_numpy(probabilities[first::SCORE_PARTS]).double()
        # xlogy: a class of probability 0 adds nothing.
        divergence = torch.xlogy(p, p) - torch.xlogy(p, p.mean(dim=0))
        scores.append(divergence.sum(dim=1).mean().exp().item())
    return float(np.mean(scores))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _check(rows: np.ndarray, least: int = 2) -> None:
    if rows.ndim != 2 or len(rows) < least or not np.isfinite(rows).all():
        raise ValueError(f"expected at least {least} finite rows, found shape {rows.shape}")
