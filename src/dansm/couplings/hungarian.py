"""The paper's ablation: samples and noises paired by an optimal assignment, set by set.

``match_size`` samples are buffered across batches, paired with as many fresh noises so that the
sum of squared distances is least, and handed out batch by batch. Each noise of a full set is used
exactly once, so over a set the noise is exactly Gaussian.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Pairs,
    StatefulCoupling,
    check_costs,
    check_extras,
    check_match_size,
    check_samples,
    check_shape,
    flattened,
)
from dansm.randomness import generator


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
    noise: Tensor  # of the samples' shape, dtype and device
    origin: Tensor  # (n, 2), int64, CPU: each noise's set and row in it; -1 while there is none


class Hungarian(StatefulCoupling):
    """Optimal assignment over sets of ``match_size`` samples and noises.

    Set k is the stream's k-th ``match_size`` samples, however they were batched; its noises are
    the stream ``(seed, "set", k)``. A batch is handed out, in the order and with the rows and
    extras it came with, once all its samples are matched. When the batches end, the samples left
    over are matched among the first noises of a set of their own, as many as they are.

    There is no ``match``: a sample's noise depends on samples that come after its batch.

    The state holds all that has been taken from the batches and not handed out. A coupling that
    loads it goes on with the batches that follow the last one taken. Held samples are stored on
    the CPU and come back there; their noises are drawn again.

    A set costs one matrix product and scipy's assignment, about ``match_size``³ at worst: 0.06 s
    for 1 024 samples, 2.9 s for 4 096.
    """

    name = "hungarian"

    def __init__(self, match_size: int, seed: int = 0) -> None:
        check_match_size(self.name, match_size)
        super().__init__(match_size, seed)
        self._sets = 0  # sets matched so far
        self._shape: tuple[int, ...] | None = None  # of one sample
        self._held: deque[_Held] = deque()
        self._waiting: list[tuple[_Held, slice]] = []  # rows of the set that is being filled
        self._count = 0  # samples waiting

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield the batches in order, taking as many as the matching of the first one needs.

        Raises
        ------
        ValueError
            If samples are empty, not finite, of another shape than those before, or too large for
            their distances to be finite; if an extra has not one row a sample.
        """
        yield from self._matched()
        for batch in batches:
            self._take(batch)
            yield from self._matched()
        if self._waiting:
            self._match()
            yield from self._matched()

    def _matched(self) -> Iterator[Pairs]:
        while self._held and self._held[0].origin[-1, 0] >= 0:
            held = self._held.popleft()
            yield Pairs(held.batch.samples, held.noise, held.batch.extras)

    def _take(self, batch: Batch) -> None:
        check_samples(batch.samples)
        check_extras(batch)
        self._shape = check_shape(batch.samples, self._shape)
        rows = len(batch.samples)
        held = _Held(batch, torch.empty_like(batch.samples), torch.full((rows, 2), -1))
        self._held.append(held)
        done = 0
        while done < rows:
            stop = min(rows, done + self.match_size - self._count)
            self._waiting.append((held, slice(done, stop)))
            self._count += stop - done
            done = stop
            if self._count == self.match_size:
                self._match()

    def _match(self) -> None:
        """Match the waiting samples, a whole set or what is left at the end."""
        device = self._waiting[-1][0].noise.device
        flat = torch.cat(
            [flattened(held.batch.samples[rows]).to(device) for held, rows in self._waiting]
        )
        noise = self._drawn(self._sets)[: len(flat)]
        # ‖x‖² and ‖n‖² add the same to every assignment.
        costs = -(flat @ noise.flatten(1).to(flat).T)
        check_costs(costs, flat)
        chosen = assign_optimally(costs)
        for held, rows in self._waiting:
            columns, chosen = chosen.tensor_split([rows.stop - rows.start])
            held.noise[rows] = noise[columns].to(held.noise)
            held.origin[rows, 0], held.origin[rows, 1] = self._sets, columns
        self._waiting, self._count = [], 0
        self._sets += 1

    def _drawn(self, k: int) -> Tensor:
        """Return all noises of a set, shape (match_size, ...), float32, on the CPU."""
        stream = generator(self.seed, "set", k)
        return torch.randn(self.match_size, *self._shape, generator=stream)

    def progress(self) -> dict[str, Any]:
        """Return the number of sets matched and the batches held, with their noises' origins."""
        return {
            "sets": self._sets,
            "shape": None if self._shape is None else list(self._shape),
            "held": [
                {
                    "samples": held.batch.samples.cpu().clone(),
                    "extras": {key: rows.cpu().clone() for key, rows in held.batch.extras.items()},
                    "origin": held.origin.clone(),
                }
                for held in self._held
            ],
        }

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue with those batches."""
        self._sets = progress["sets"]
        self._shape = None if progress["shape"] is None else tuple(progress["shape"])
        self._held, self._waiting, self._count = deque(), [], 0
        for entry in progress["held"]:
            samples, origin = entry["samples"], entry["origin"].clone()
            held = _Held(Batch(samples, entry["extras"]), torch.empty_like(samples), origin)
            self._held.append(held)
            matched = int((origin[:, 0] >= 0).sum())
            if matched < len(samples):
                self._waiting.append((held, slice(matched, len(samples))))
                self._count += len(samples) - matched
        for k in {int(k) for held in self._held for k in held.origin[:, 0].unique() if k >= 0}:
            noise = self._drawn(k)
            for held in self._held:
                rows = held.origin[:, 0] == k
                held.noise[rows] = noise[held.origin[rows, 1]].to(held.noise)
