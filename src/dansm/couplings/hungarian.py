"""The paper's ablation: samples and noises paired by an optimal assignment, set by set.

``match_size`` samples are buffered across batches, paired with as many fresh noises so that the
sum of squared distances is least, and handed out batch by batch. Each noise of a full set is used
exactly once, so over a set the noise is exactly Gaussian.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    Pairs,
    batch_labels,
    check_batch,
    check_costs,
    check_memory,
    check_samples,
    flattened,
)
from dansm.randomness import generator, normal, stream_seed


def assign_optimally(costs: Tensor) -> Tensor:
    """Return the assignment of rows to columns whose costs have the least sum.

    Parameters
    ----------
    costs
        Shape (rows, columns), rows ≤ columns, finite.

    Returns
    -------
    Tensor, shape (rows,), int64, on the CPU
        The column of each row, all different.
    """
    # An assignment's rows come in order; scipy computes in float64 whatever it is given.
    return torch.from_numpy(linear_sum_assignment(costs.double().cpu().numpy())[1])


@dataclass
class _Held:
    """A batch that has been taken and not handed out yet."""

    batch: Batch
    labels: Tensor  # (n,), int64, CPU; zeros where classes do not count
    noise: Tensor  # of the samples' shape, dtype and device
    origin: Tensor  # (n, 2), int64, CPU: each noise's set and row in it; -1 while there is none


@dataclass
class _Waiting:
    """The set of a class that is being filled."""

    sets: int = 0  # matched before it
    parts: list[tuple[_Held, Tensor]] = field(default_factory=list)  # batches and rows of them
    count: int = 0  # samples


class Hungarian(Coupling):
    """Optimal assignment over sets of ``match_size`` samples and noises.

    Set k is the stream's k-th ``match_size`` samples, however they were batched; its noises are
    the stream ``(seed, "set", k)``. A batch is handed out, in the order and with the rows and
    extras it came with, once all its samples are matched. When the batches end, the samples left
    over are matched among the first noises of a set of their own, as many as they are.

    With labels the samples of each class fill sets of their own, whose noises come from the streams
    of the class's seed (see `dansm.couplings.per_class`). A batch then waits for the slowest of its
    classes: with a class of share p, some ``match_size`` / p samples are held.

    There is no ``match``: a sample's noise depends on samples that come after its batch.

    The state holds all that has been taken from the batches and not handed out. A coupling that
    loads it goes on with the batches that follow the last one taken. Held samples are stored on
    the CPU and come back there; their noises are drawn again.

    A set costs one matrix product and scipy's assignment, about ``match_size``³ at worst.

    Parameters
    ----------
    match_size
        Number of samples and of noises of a set.
    seed
        Seed of the noises.
    labels
        Name of the extra that holds each sample's class, if only samples of one class are to share
        a set.
    """

    name = "hungarian"
    sized = True

    def __init__(self, match_size: int, seed: int = 0, labels: str | None = None) -> None:
        super().__init__(match_size, seed)
        self.labels = labels
        self._held: deque[_Held] = deque()
        self._waiting: defaultdict[int, _Waiting] = defaultdict(_Waiting)  # by label

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield the batches in order, taking as many as the first needs; see `Coupling.pairs`."""
        yield from self._matched()
        for batch in batches:
            with self._undisturbed():
                self._take(batch)
            yield from self._matched()
        with self._undisturbed():
            for label, waiting in self._waiting.items():
                if waiting.count:
                    self._match(label, waiting)
        yield from self._matched()

    def _matched(self) -> Iterator[Pairs]:
        while self._held and int(self._held[0].origin.min()) >= 0:
            held = self._held.popleft()
            yield Pairs(held.batch.samples, held.noise, held.batch.extras)

    def _take(self, batch: Batch) -> None:
        check_batch(batch)
        shape, labels = check_samples(batch.samples, self._shape), batch_labels(batch, self.labels)
        if self._shape is None:
            needed = 2 * self.match_size * batch.samples[0].nbytes  # samples and noises
            what = f"match_size {self.match_size}: a set of shape {shape}"
            check_memory(what, needed, torch.device("cpu"))
        self._shape = shape
        noise, origin = torch.empty_like(batch.samples), torch.full((len(labels), 2), -1)
        held = _Held(batch, labels, noise, origin)
        self._held.append(held)
        self._add(held, torch.arange(len(labels)))

    def _add(self, held: _Held, rows: Tensor) -> None:
        """Put rows of a batch into their classes' sets, and match the sets that get full."""
        for label in held.labels[rows].unique().tolist():
            waiting, own = self._waiting[label], rows[held.labels[rows] == label]
            while len(own):
                room = self.match_size - waiting.count
                waiting.parts.append((held, own[:room]))
                waiting.count += len(own[:room])
                own = own[room:]
                if waiting.count == self.match_size:
                    self._match(label, waiting)

    def _match(self, label: int, waiting: _Waiting) -> None:
        """Match the waiting samples, a whole set or what is left at the end."""
        device = waiting.parts[-1][0].noise.device
        flat = torch.cat(
            [flattened(held.batch.samples[rows]).to(device) for held, rows in waiting.parts]
        )
        # In float32 or wider, and as scipy takes them.
        needed = len(flat) ** 2 * (flat.element_size() + 8)
        check_memory(f"match_size {self.match_size}: a set of {len(flat)}", needed, flat.device)
        noise = self._drawn(label, waiting.sets)[: len(flat)]
        # ‖x‖² and ‖n‖² add the same to every assignment.
        costs = -(flat @ noise.flatten(1).to(flat).T)
        check_costs(costs, flat)
        chosen = assign_optimally(costs)
        for held, rows in waiting.parts:
            columns, chosen = chosen.tensor_split([len(rows)])
            held.noise[rows] = noise[columns].to(held.noise)
            held.origin[rows, 0], held.origin[rows, 1] = waiting.sets, columns
        waiting.sets, waiting.parts, waiting.count = waiting.sets + 1, [], 0

    def _drawn(self, label: int, k: int) -> Tensor:
        """Return all noises of a class's set, shape (match_size, ...), float32, on the CPU."""
        seed = self.seed if self.labels is None else stream_seed(self.seed, "class", label)
        return normal((self.match_size, *self._shape), generator(seed, "set", k))

    def progress(self) -> dict[str, Any]:
        """Return the number of sets matched and the batches held, with their noises' origins."""
        return {
            "sets": {label: waiting.sets for label, waiting in self._waiting.items()},
            "shape": self._shape,
            "held": [
                {
                    "samples": held.batch.samples.cpu().clone(),
                    "extras": {key: rows.cpu().clone() for key, rows in held.batch.extras.items()},
                    "labels": held.labels.clone(),
                    "origin": held.origin.clone(),
                }
                for held in self._held
            ],
        }

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue with those batches."""
        self._shape = progress["shape"]
        self._waiting.clear()
        self._waiting.update({k: _Waiting(sets) for k, sets in progress["sets"].items()})
        self._held.clear()
        for entry in progress["held"]:
            samples, origin = entry["samples"], entry["origin"].clone()
            batch, noise = Batch(samples, entry["extras"]), torch.empty_like(samples)
            held = _Held(batch, entry["labels"], noise, origin)
            self._held.append(held)
            self._add(held, (origin[:, 0] < 0).nonzero().squeeze(1))
        matched = {
            (label, k)
            for held in self._held
            for label, k in zip(held.labels.tolist(), held.origin[:, 0].tolist(), strict=True)
            if k >= 0
        }
        for label, k in matched:
            noise = self._drawn(label, k)
            for held in self._held:
                rows = (held.labels == label) & (held.origin[:, 0] == k)
                held.noise[rows] = noise[held.origin[rows, 1]].to(held.noise)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "labels": self.labels}
