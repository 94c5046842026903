"""LOOM-CFM: assignments that improve across batches (Davtyan et al., ICLR 2025).

Every training sample owns ``stored`` noises. In each batch one of each sample's noises, picked at
random, is re-assigned among the batch's samples by an optimal assignment and stored back. So the
total cost of the assignment never rises, and batches communicate through the exchanged noises.

The set of noises is finite and fixed: training sees N × ``stored`` noises, however long it runs.
They are a Gaussian sample, but not fresh ones; more of them come closer to N(0, I).
"""

from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    Pairs,
    batch_labels,
    batch_rows,
    check_costs,
    check_memory,
    check_samples,
    flattened,
    undisturbed,
    whole_number,
)
from dansm.couplings.hungarian import assign_optimally
from dansm.randomness import generator, normal


class Loom(Coupling):
    """Stored noises of each sample, exchanged between the samples of a batch.

    Batches must carry ``extras["row"]``, each sample's row in the dataset. A batch in which a row
    returns (where one epoch ends and the next begins) is matched in parts without repetition.

    Only ids are stored: noise ``id`` comes from ``generator(seed, "loom", id)`` whenever it is
    used, at the cost of drawing it. Memory, and the state, is 8 bytes a stored noise whatever the
    dimensions.

    Parameters
    ----------
    match_size
        0: there is no pool.
    seed
        Seed of the noises and of the choice among a sample's noises.
    count
        Number of samples N of the dataset.
    shape
        Shape of one sample.
    stored
        Noises stored for each sample.
    labels
        Name of the extra that holds each sample's class, if noises are to be exchanged only between
        samples of one class (see `dansm.couplings.per_class`).

    Raises
    ------
    ValueError
        If the match size is not 0 or a count is not positive.
    """

    name = "loom"

    @undisturbed()
    def __init__(
        self,
        match_size: int = 0,
        seed: int = 0,
        *,
        count: int,
        shape: tuple[int, ...],
        stored: int = 1,
        labels: str | None = None,
    ) -> None:
        count = whole_number("count", count, 1, "loom expects")
        stored = whole_number("stored", stored, 1, "loom expects")
        check_memory(f"loom: {count}×{stored} noises", 8 * count * stored, torch.device("cpu"))
        super().__init__(match_size, seed)
        self.labels = labels
        self._shape = tuple(whole_number("shape", side, 1, "loom expects") for side in shape)
        ids = torch.arange(count * stored).reshape(count, stored)  # noises of each sample
        self._progress = {"ids": ids, "batches": 0}

    def pair(self, batch: Batch) -> Pairs:
        """Return the batch with the noises re-assigned among its samples; see `Coupling.pairs`."""
        check_samples(batch.samples, self._shape, "as in the dataset")
        ids = self._progress["ids"]
        rows, labels = batch_rows(batch, len(ids)), batch_labels(batch, self.labels)
        stream = generator(self.seed, "slot", self._progress["batches"])
        slots = torch.randint(ids.shape[1], rows.shape, generator=stream)
        noise = torch.empty_like(batch.samples)
        for part in torch.arange(len(rows)).split(_parts_without_repetition(rows.tolist())):
            for label in labels[part].unique():
                own = part[labels[part] == label]
                noise[own] = self._reassign(batch.samples[own], rows[own], slots[own])
        self._progress["batches"] += 1
        return Pairs(batch.samples, noise, batch.extras)

    def _reassign(self, samples: Tensor, rows: Tensor, slots: Tensor) -> Tensor:
        """Exchange the noises in these slots optimally, and return them.

        The rows differ. The permutation of least Σ −x·z is also that of least Σ ‖x − z‖².
        """
        stored = self._progress["ids"]
        ids = stored[rows, slots]
        streams = [generator(self.seed, "loom", i) for i in ids.tolist()]
        noise = torch.stack([normal(self._shape, stream) for stream in streams])
        flat = flattened(samples)
        costs = -flat @ noise.flatten(1).to(flat).T
        check_costs(costs, flat)
        chosen = assign_optimally(costs)
        stored[rows, slots] = ids[chosen]
        return noise[chosen].to(samples)

    def _identity(self) -> dict[str, Any]:
        count, stored = self._progress["ids"].shape
        own = {"count": count, "stored": stored, "shape": self._shape, "labels": self.labels}
        return {**super()._identity(), **own}


def _parts_without_repetition(rows: list[int]) -> list[int]:
    """Return the sizes of the longest consecutive parts in which no row comes twice."""
    sizes, seen = [0], set()
    for row in rows:
        if row in seen:
            sizes.append(0)
            seen = set()
        seen.add(row)
        sizes[-1] += 1
    return sizes
