"""Matching within each class, for class-conditional models.

A conditional model is sampled by drawing noise from N(0, I), whatever the class. If noises are
matched to samples of all classes at once, each class attracts noises of its own, so in training
the noise depends on the class and the model is then sampled from a distribution that it was not
trained on, although over all classes together the noise is Gaussian. Matching within a class
leaves the noise of every class what the coupling makes it of one dataset: Gaussian with all
couplings but ``knn``.

`PerClass` does it for the online couplings, the others themselves. Class c of an online coupling or
of ``hungarian`` draws from streams of its own: those of the seed ``stream_seed(seed, "class", c)``.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    OnlineCoupling,
    Pairs,
    batch_labels,
    check_integers,
    check_samples,
)
from dansm.randomness import stream_seed


class PerClass(Coupling):
    """One online coupling for each class, made when the class first comes.

    Memory is that of as many couplings: ``greedy`` holds a pool for each class.

    Parameters
    ----------
    make
        Returns a new coupling with the seed it is given.
    seed
        Seed from which those of the classes are derived.
    labels
        Name of the extra that holds the class of each sample.
    """

    def __init__(self, make: Callable[[int], OnlineCoupling], seed: int, labels: str) -> None:
        self._like = make(seed)  # only for its identity
        self.name, self.sized = self._like.name, self._like.sized
        super().__init__(self._like.match_size, seed)
        self.labels = labels
        self._make = make
        self._couplings: dict[int, OnlineCoupling] = {}  # by class

    def match(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Return the noise for each sample, matched among the samples of its class.

        ``labels``, shape (n,), are the integers of the samples' classes; a ``ValueError`` says if
        they are not. For the rest see `OnlineCoupling.match`.
        """
        shape = check_samples(samples, self._shape)
        labels = check_integers("labels", labels, len(samples))
        self._shape = shape
        noise = torch.empty_like(samples)
        for label in labels.unique().tolist():
            rows = (labels == label).nonzero().squeeze(1).to(samples.device)
            noise[rows] = self._coupling(label).match(samples[rows])
        return noise

    def pair(self, batch: Batch) -> Pairs:
        """Return the batch with its noise."""
        noise = self.match(batch.samples, batch_labels(batch, self.labels))
        return Pairs(batch.samples, noise, batch.extras)

    def progress(self) -> dict[str, Any]:
        """Return the progress of each class's coupling and the shape of a sample."""
        classes = {label: coupling.progress() for label, coupling in self._couplings.items()}
        return {"classes": classes, "shape": self._shape}

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue with those classes."""
        self._shape = progress["shape"]
        self._couplings.clear()
        for label, of_class in progress["classes"].items():
            self._coupling(label).load_progress(of_class)

    def _coupling(self, label: int) -> OnlineCoupling:
        if label not in self._couplings:
            self._couplings[label] = self._make(stream_seed(self.seed, "class", label))
        return self._couplings[label]

    def _identity(self) -> dict[str, Any]:
        return {**self._like._identity(), "labels": self.labels}
