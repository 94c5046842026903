"""DANSM: each sample in turn takes the nearest noise left in a pool (paper, section 4).

The pool holds ``match_size`` Gaussian noises and lives across batches. When it is empty, in the
middle of a batch or not, a new one is drawn. Every noise is used exactly once, so over a pool the
noise stays exactly Gaussian.
"""

from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from dansm.couplings.base import (
    OnlineCoupling,
    check_costs,
    check_match_size,
    check_samples,
    check_shape,
    flattened,
)
from dansm.randomness import generator


def assign_in_turn(costs: Tensor) -> Tensor:
    """Let each row in turn take the cheapest column that no earlier row has taken.

    Parameters
    ----------
    costs
        Shape (rows, columns), rows ≤ columns, finite. It is overwritten.

    Returns
    -------
    Tensor, shape (rows,), int64
        The column of each row, all different.
    """
    return serial_choice(costs) if costs.device.type == "cpu" else deferred_acceptance(costs)


def serial_choice(costs: Tensor) -> Tensor:
    """Choose row by row; see `assign_in_turn`. The faster form on the CPU, by numpy's argmin."""
    left = costs.numpy()
    choice = np.empty(len(left), np.int64)
    for row in range(len(left)):
        choice[row] = left[row].argmin()
        left[row + 1 :, choice[row]] = np.inf
    return torch.from_numpy(choice)


def deferred_acceptance(costs: Tensor) -> Tensor:
    """Choose in a few rounds without a loop over rows; see `assign_in_turn`. For GPUs.

    The serial choice is deferred acceptance in which every column prefers earlier rows: all rows
    propose to their cheapest column, each column keeps its earliest proposer, and the rejected
    propose to their next choice, until nobody is rejected.
    """
    rows, columns = costs.shape
    choice = costs.argmin(dim=1)
    order = torch.arange(rows, device=costs.device)
    while True:
        # Each column's earliest proposer among the current choices of all rows.
        keeper = torch.full((columns,), rows, device=costs.device)
        keeper.scatter_reduce_(0, choice, order, reduce="amin")
        rejected = order[keeper[choice] != order]
        if rejected.numel() == 0:
            return choice
        costs[rejected, choice[rejected]] = torch.inf
        choice[rejected] = costs[rejected].argmin(dim=1)


class Greedy(OnlineCoupling):
    """Distance-aware noise-sample matching with a pool of ``match_size`` noises.

    A batch costs one matrix product of samples and pool, since ``‖x − n‖²`` ranks a sample's
    noises as ``‖n‖² − 2 x·n`` does. Memory is the pool's, once, and that of ``block_elements``
    costs: larger batches are matched in consecutive parts, which changes nothing.

    Parameters
    ----------
    match_size
        Number of noises of a pool.
    seed
        Seed of the pools.
    block_elements
        Costs computed at a time, at most (at least one sample's).
    """

    name = "greedy"

    def __init__(self, match_size: int, seed: int = 0, block_elements: int = 2**27) -> None:
        check_match_size(self.name, match_size)
        super().__init__(match_size, seed)
        self._block_elements = block_elements
        self._pools = 0  # pools drawn so far
        self._left = 0  # the first so many rows of the pool are still unused
        self._shape: tuple[int, ...] | None = None  # of one sample
        self._ids = torch.empty(0, dtype=torch.int64)  # row -> position in the pool as drawn
        self._pool = torch.empty(0, 0)  # (match_size, dimensions), float32 or wider
        self._norms = torch.empty(0)  # squared norms of the pool's rows

    def match(self, samples: Tensor) -> Tensor:
        """Return the matched noise; see `OnlineCoupling.match`.

        Raises
        ------
        ValueError
            If the samples are empty, not finite, or of another shape than those before, or if a
            pool is larger than the memory.
        """
        check_samples(samples)
        self._shape = check_shape(samples, self._shape)
        flat = flattened(samples)
        matched = torch.empty_like(flat)
        done = 0
        while done < len(flat):
            if self._left == 0:
                self._draw_pool(flat)
            self._to(flat)
            rows = max(1, self._block_elements // self._left)
            count = min(self._left, len(flat) - done, rows)
            matched[done : done + count] = self._take(flat[done : done + count])
            done += count
        return matched.reshape(samples.shape).to(samples.dtype)

    def _take(self, flat: Tensor) -> Tensor:
        pool, norms = self._pool[: self._left], self._norms[: self._left]
        costs = torch.addmm(norms.expand(len(flat), -1), flat, pool.T, alpha=-2)
        check_costs(costs, flat)
        chosen = assign_in_turn(costs)
        noise = pool[chosen]
        self._remove(chosen)
        return noise

    def _remove(self, chosen: Tensor) -> None:
        """Move the unused rows of the pool's tail into the holes, so that the rest is compact."""
        left = self._left - len(chosen)
        used = torch.zeros(self._left, dtype=torch.bool, device=chosen.device)
        used[chosen] = True
        holes = used[:left].nonzero().squeeze(1)
        movers = left + (~used[left:]).nonzero().squeeze(1)
        for rows in (self._pool, self._norms, self._ids):
            rows[holes] = rows[movers]
        self._left = left

    def _draw_pool(self, like: Tensor) -> None:
        needed = self.match_size * like.shape[1] * like.element_size()
        free = psutil.virtual_memory().available
        if like.device.type == "cuda":
            free = torch.cuda.mem_get_info(like.device)[0]
        if needed > free:
            raise ValueError(
                f"match_size {self.match_size}: a pool of {like.shape[1]} dimensions needs "
                f"{needed / 2**30:.1f} GiB, found {free / 2**30:.1f} GiB of free memory"
            )
        self._pools += 1
        self._left = self.match_size
        self._ids = torch.arange(self.match_size, device=like.device)
        self._hold(self._drawn(like))

    def _hold(self, pool: Tensor) -> None:
        self._pool = pool
        self._norms = torch.linalg.vector_norm(pool, dim=1).square()

    def _drawn(self, like: Tensor) -> Tensor:
        """Return the current pool as it comes from its stream."""
        stream = generator(self.seed, "pool", self._pools)
        return torch.randn(self.match_size, like.shape[1], generator=stream).to(like)

    def _to(self, like: Tensor) -> None:
        if len(self._pool) == 0:  # after a state was loaded
            self._hold(self._drawn(like)[self._ids.to(like.device)])
        self._pool, self._norms = self._pool.to(like), self._norms.to(like)
        self._ids = self._ids.to(like.device)

    def progress(self) -> dict[str, Any]:
        """Return which pool is in use and which of its noises are left.

        The noises themselves come again from their stream.
        """
        return {
            "pools": self._pools,
            "left": self._left,
            "ids": self._ids.cpu().clone(),
            "shape": None if self._shape is None else list(self._shape),
        }

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue with that pool."""
        self._pools, self._left = progress["pools"], progress["left"]
        self._ids = progress["ids"].clone()
        self._shape = None if progress["shape"] is None else tuple(progress["shape"])
        self._pool, self._norms = torch.empty(0, 0), torch.empty(0)
