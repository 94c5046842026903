"""Flow Matching with Semidiscrete Couplings (Mousavi-Hosseini et al., arXiv 2509.25519).

Optimal transport between N(0, I) and the uniform distribution on a finite dataset, with cost
−x·z: one potential g per sample, fitted once; then each fresh noise z takes the sample of largest
x·z + g. The noise is exactly Gaussian in every batch, and a batch costs one matrix product with the
dataset. With the right potentials every sample is taken equally often.

In the metric of the data's covariance, which is ours, the score is x·Cz + g; everything else stays,
the exact Gaussian noise too.

For class-conditional models the same is done within each class (see `dansm.couplings.per_class`).
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    Pairs,
    batch_labels,
    check_samples,
    compute_dtype,
    undisturbed,
)
from dansm.couplings.metric import weigh
from dansm.couplings.potentials import (
    Potentials,
    assign_within,
    sort_by_class,
)
from dansm.randomness import generator, normal


class Semidiscrete(Coupling):
    """Each fresh noise takes its sample of the dataset, by fitted potentials.

    The coupling chooses the samples: of an incoming batch it uses only size, dtype and device.
    Batch k draws its noise from ``generator(seed, "noise", k)``, as ``independent`` does. The
    product with the dataset runs on the device of ``samples``. Memory is O(batch × block) beside
    the dataset.

    With labels, of an incoming batch it uses the labels too: noise i takes a sample of the class
    of sample i, and the product is with that class alone.

    Parameters
    ----------
    match_size
        0: there is no pool.
    seed
        Seed of the noise streams.
    samples
        The dataset, shape (N, ...), any float dtype.
    potentials
        Those fitted to it, within its classes if labels are given, and in the metric.
    labels, classes
        Name of the extra that holds the class of each sample of a batch, and the classes of the
        dataset, shape (N,), integers; both or neither.
    metric
        ``euclidean``, the published method, or ``covariance``; see `dansm.couplings.metric`.

    Raises
    ------
    ValueError
        If the match size is not 0, the samples are not finite floats, labels are given without
        classes or the other way round, or the potentials belong to other samples or classes or
        another metric.
    """

    name = "semidiscrete"

    @undisturbed()
    def __init__(
        self,
        match_size: int = 0,
        seed: int = 0,
        *,
        samples: Tensor,
        potentials: Potentials,
        labels: str | None = None,
        classes: Tensor | None = None,
        metric: str = "euclidean",
    ) -> None:
        check_samples(samples)
        if (labels is None) != (classes is None):
            found = "no classes" if classes is None else "classes"
            raise ValueError(
                "semidiscrete: expected labels, the name of an extra, and the dataset's classes "
                f"together, found labels {labels!r} and {found}"
            )
        self._classes = sort_by_class(samples, classes)
        potentials.check(samples, classes, metric)
        super().__init__(match_size, seed)
        self.labels = labels
        self.metric = metric
        self._samples, self._flat = samples, samples.flatten(1)
        self._weighed = weigh(self._flat, metric)
        self._potentials = potentials.values.to(samples.device, compute_dtype(samples))
        self._checksums = {
            "potentials": hashlib.sha256(potentials.values.numpy()).hexdigest(),
            "classes": potentials.classes_sha256,
        }
        self._progress = {"batches": 0}

    def pair(self, batch: Batch) -> Pairs:
        """Return as many pairs with ``extras["row"]``, the samples' rows (int64).

        The labels, where they count, are the only extra that a batch's samples have in common with
        those chosen; it is handed on. A ``ValueError`` also says if one is none of the dataset's.
        """
        like, known = batch.samples, self._classes
        check_samples(like, tuple(self._samples.shape[1:]), "as in the dataset")
        labels = batch_labels(batch, self.labels)
        places = torch.searchsorted(known.labels, labels).clamp_max(len(known.labels) - 1)
        strange = labels[known.labels[places] != labels]
        if len(strange):
            raise ValueError(
                f"extras[{self.labels!r}]: expected one of the dataset's {len(known.labels)} "
                f"classes, from {int(known.labels[0])} to {int(known.labels[-1])}, found "
                f"{int(strange[0])}"
            )
        stream = generator(self.seed, "noise", self._progress["batches"])
        self._progress["batches"] += 1
        noise = normal(like.shape, stream)
        weighed = self._weighed(noise.flatten(1).to(self._potentials))
        places = places.to(weighed.device)
        rows = assign_within(self._flat, self._potentials, weighed, places, known)
        extras = {"row": rows.to(like.device)}
        if self.labels is not None:
            extras[self.labels] = batch.extras[self.labels]
        return Pairs(self._samples[rows].to(like), noise.to(like), extras)

    def _identity(self) -> dict[str, Any]:
        own = {"count": len(self._samples), "labels": self.labels, "metric": self.metric}
        return {**super()._identity(), **own, **self._checksums}
