"""DANSM: each sample in turn takes the nearest noise left in a pool (paper, section 4).

The pool holds ``match_size`` Gaussian noises and lives across batches. When it is empty, in the
middle of a batch or not, a new one is drawn. Every noise is used exactly once, so over a pool the
noise stays exactly Gaussian.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dansm.couplings.base import (
    OnlineCoupling,
    check_costs,
    check_memory,
    products,
    undisturbed,
    whole_number,
)
from dansm.randomness import generator, normal

_STREAM_VALUES = 2**20  # of a pool that one stream gives, at most; another value makes other pools
_DRAWN_STREAMS = 16  # whose noises are held at a time when the pool is not


def serial_choice(costs: Tensor) -> Tensor:
    """Let each row in turn take the cheapest column that no earlier row has taken.

    The faster form on the CPU, by numpy's argmin.

    Parameters
    ----------
    costs
        Shape (rows, columns), rows ≤ columns, finite.

    Returns
    -------
    Tensor, shape (rows,), int64
        The column of each row, all different; of several equally cheap ones the first.
    """
    table = costs.numpy()
    choice = table.argmin(axis=1)
    taken = set()
    for row, column in enumerate(choice.tolist()):
        if column in taken:
            left = table[row].copy()
            left[choice[:row]] = np.inf
            choice[row] = column = int(left.argmin())
        taken.add(column)
    return torch.from_numpy(choice)


def deferred_acceptance(costs: Tensor) -> Tensor:
    """Choose what `serial_choice` does in a few rounds without a loop over rows, for GPUs.

    That choice is deferred acceptance in which every column prefers earlier rows: all rows
    propose to their cheapest column, each column keeps its earliest proposer, and the rejected
    propose to their next choice, until nobody is rejected.
    """
    rows, columns = costs.shape
    costs = costs.clone()
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


def match_in_turn(flat: Tensor, blocks: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Let each sample in turn take the nearest noise that no earlier one has taken.

    The noises come in blocks, and of the blocks seen only the noises taken are kept: more noises
    never send a sample back to one that was left over without them.

    Parameters
    ----------
    flat
        Samples, shape (n, d).
    blocks
        Noises, shape (m, d), and their squared norms, shape (m,); n noises or more in all.

    Returns
    -------
    places : Tensor, shape (n,), int64
        The place of each sample's noise, counted through the blocks.
    noise : Tensor, shape (n, d)

    Raises
    ------
    ValueError
        If a cost is not finite.
    """
    doubled = -2 * flat
    chosen = places = torch.empty(0, dtype=torch.int64, device=flat.device)
    costs = noise = flat[:0]
    first, assign = 0, serial_choice if flat.device.type == "cpu" else deferred_acceptance
    for block, norms in blocks:
        # ‖x − n‖² less ‖x‖², which ranks a sample's noises alike.
        fresh = products(doubled, block, norms)
        check_costs(fresh, flat)
        columns = torch.arange(first, first + len(block), device=flat.device)
        first += len(block)
        kept = places.argsort()  # so that the first place wins a tie
        if len(kept):
            fresh = torch.cat([costs[:, chosen[kept]], fresh], dim=1)
            columns = torch.cat([places[kept], columns])
        costs = fresh
        # While there are fewer noises than samples, all are kept.
        chosen = assign(costs) if len(columns) >= len(flat) else columns
        places = columns[chosen]
        taken = block.index_select(0, (chosen - len(kept)).clamp_min(0))  # faster than block[…]
        if len(kept):
            old = chosen < len(kept)
            taken[old] = noise[kept[chosen[old]]]
        noise = taken
    return places, noise


class Greedy(OnlineCoupling):
    """Distance-aware noise-sample matching with a pool of ``match_size`` noises.

    A batch costs one matrix product of samples and pool, since ``‖x − n‖²`` ranks a sample's
    noises as ``‖n‖² − 2 x·n`` does. Memory is the pool's, once, and that of ``block_elements``
    costs: more are computed in blocks of samples and of noises, which changes nothing. Nor does
    ``pool_bytes``: a pool that is not held is drawn again for every batch, a block at a time.

    Parameters
    ----------
    match_size
        Number of noises of a pool.
    seed
        Seed of the pools.
    block_elements
        Costs in a block, at most (at least those of one sample and two noises).
    pool_bytes
        Size of the largest pool that is held; all are unless it is given.
    """

    name = "greedy"
    sized = True

    @undisturbed()
    def __init__(
        self,
        match_size: int,
        seed: int = 0,
        block_elements: int = 2**27,
        pool_bytes: int | None = None,
    ) -> None:
        super().__init__(match_size, seed)
        self._block_elements = whole_number("block_elements", block_elements, 1)
        self._pool_bytes = None if pool_bytes is None else whole_number("pool_bytes", pool_bytes)
        self._pools = 0  # pools drawn so far
        self._ids = torch.empty(0, dtype=torch.int64)  # of the noises left: places in the pool
        self._pool: Tensor | None = None  # the noises left, (left, dimensions), float32 or wider
        self._norms = torch.empty(0)  # their squared norms, where they are held

    def matched(self, flat: Tensor) -> Tensor:
        """Return the matched noise; see `OnlineCoupling.matched`."""
        matched = torch.empty_like(flat)
        done = 0
        while done < len(flat):
            self._prepare(flat)
            rows = min(len(self._ids), max(1, isqrt(self._block_elements // 2)))
            part = flat[done : done + rows]
            places, matched[done : done + rows] = match_in_turn(part, self._blocks(part))
            self._remove(places)
            done += rows
        return matched

    def _prepare(self, like: Tensor) -> None:
        """Begin a pool if none is left, and hold what is left of it if that may be held."""
        if self._pool is not None:
            self._pool, self._norms = self._pool.to(like), self._norms.to(like)
            self._ids = self._ids.to(like.device)
            return
        left, bytes_each = len(self._ids) or self.match_size, like.shape[1] * like.element_size()
        held = self._pool_bytes is None or left * bytes_each <= self._pool_bytes
        needed = left * (bytes_each if held else self._ids.element_size())
        kind = f"a pool of {like.shape[1]} dimensions" if held else "the list of noises left"
        hint = "; the option pool_bytes says which pools are not held" if held else ""
        check_memory(f"match_size {self.match_size}: {kind}", needed, like.device, hint)
        if len(self._ids) == 0:
            self._pools += 1
            self._ids = torch.arange(self.match_size)
        self._ids = self._ids.to(like.device)
        if held:
            self._pool = self._drawn(self._ids, like)
            self._norms = _squared_norms(self._pool)
        else:
            self._ids = self._ids.sort().values  # a state may hold them in another order

    def _blocks(self, flat: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the noises left and their squared norms, as many at a time as costs may be held."""
        columns = max(1, self._block_elements // len(flat) - len(flat))
        if self._pool is not None:
            yield from zip(self._pool.split(columns), self._norms.split(columns), strict=True)
            return
        width = _DRAWN_STREAMS * _stream_noises(flat)
        _, counts = (self._ids // width).unique_consecutive(return_counts=True)
        for ids in self._ids.split(counts.tolist()):
            for block in self._drawn(ids, flat).split(columns):
                yield block, _squared_norms(block)

    def _drawn(self, ids: Tensor, like: Tensor) -> Tensor:
        """Return these noises of the current pool, of the dtype and device of ``like``.

        Only streams that hold some of them are drawn, several at once.
        """
        noise = like.new_empty(len(ids), like.shape[1])
        size = _stream_noises(like)
        ordered, rows = ids.cpu().sort()
        streams, counts = (ordered // size).unique_consecutive(return_counts=True)

        def draw(stream: int, ordered: Tensor, rows: Tensor) -> None:
            first = stream * size
            shape = min(size, self.match_size - first), like.shape[1]
            block = normal(shape, generator(self.seed, "pool", self._pools, stream))
            if len(ordered) < len(block):
                block = block.index_select(0, ordered - first)
            noise[rows] = block.to(noise)

        parts = ordered.split(counts.tolist()), rows.split(counts.tolist())
        with ThreadPoolExecutor(torch.get_num_threads()) as executor:
            list(executor.map(draw, streams.tolist(), *parts))
        return noise

    def _remove(self, places: Tensor) -> None:
        used = torch.zeros(len(self._ids), dtype=torch.bool, device=places.device)
        used[places] = True
        if self._pool is None:
            self._ids = self._ids[~used]
            return
        # Move the unused rows of the tail into the holes, so that the rest is compact.
        left = len(self._ids) - len(places)
        holes = used[:left].nonzero().squeeze(1)
        movers = left + (~used[left:]).nonzero().squeeze(1)
        for rows in (self._pool, self._norms, self._ids):
            rows[holes] = rows[movers]
        self._ids, self._norms = self._ids[:left], self._norms[:left]
        self._pool = self._pool[:left] if left else None

    def progress(self) -> dict[str, Any]:
        """Return which pool is in use and which of its noises, drawn again, are left."""
        return {"pools": self._pools, "ids": self._ids.cpu().clone(), "shape": self._shape}

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue with that pool."""
        self._pools, self._shape = progress["pools"], progress["shape"]
        self._ids, self._pool = progress["ids"].clone(), None


def _stream_noises(like: Tensor) -> int:
    return max(1, _STREAM_VALUES // like.shape[1])


def _squared_norms(noise: Tensor) -> Tensor:
    return torch.linalg.vector_norm(noise, dim=1).square()
