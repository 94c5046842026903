"""Time grids that are searched for a network: by a fine solution, and by evolution.

Both choose among the knots of a fine grid. Entries of `dansm.processes.solver_registry.GRIDS` name
them.
"""

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from dansm.errors import InputError
from dansm.processes.base import Counted, Network, Process

# How much more an error that is made a jump later counts, so that it is made earlier (GITS).
LATER_COST = 1.15
_MUTATION = 0.5  # of each time of a child


def jump_costs(
    process: Process, network: Network, noise: Tensor, times: Sequence[Fraction]
) -> np.ndarray:
    """Return how far Euler's jumps between states of a fine solution miss it.

    The solution is Heun's on all times. ``costs[i, j]``, for j > i, is the mean over noises of the
    Euclidean distance between the state at time j and the end of one jump there from that at i, in
    the process's coordinates as multiples of the clean data's.

    Parameters
    ----------
    noise
        Shape ``(n, ...)``.
    times
        From 0 to 1.

    Returns
    -------
    numpy.ndarray, shape (k, k), float64, infinite where j ≤ i
    """
    counted = Counted(network)
    at = [process.coordinate(time) for time in times]
    states, slopes = [process.start(noise, times[0])], []
    for k, (start, end) in enumerate(itertools.pairwise(at)):
        first = process.velocity(counted, states[-1], start)
        slopes.append(first)
        mean = first
        if not process.last < times[k + 1] == 1:
            ahead = states[-1] + (end - start) * first
            mean = (first + process.velocity(counted, ahead, end)) / 2
        states.append(states[-1] + (end - start) * mean)
    costs = np.full((len(at), len(at)), np.inf)
    for i, slope in enumerate(slopes):
        for j in range(i + 1, len(at)):
            missed = states[i] + (at[j] - at[i]) * slope - states[j]
            costs[i, j] = float(missed.flatten(1).norm(dim=1).double().mean())
    return costs


def cheapest_path(costs: np.ndarray, jumps: int, later: float = LATER_COST) -> list[int]:
    """Return the knots, first and last included, of the cheapest path with so many jumps.

    A jump's cost counts ``later`` times as much as if it were made one jump earlier. By dynamic
    programming from the end.

    Parameters
    ----------
    costs
        Shape (k, k), as of `jump_costs`.

    Raises
    ------
    InputError
        If there are fewer knots than that, or no path of finite cost.
    """
    count = len(costs)
    if not 1 <= jumps < count:
        raise InputError(f"steps: expected 1 to {count - 1} for {count} knots, found {jumps}")
    rest = np.full(count, np.inf)  # the cheapest way from each knot to the last
    rest[-1] = 0
    following = []
    for _ in range(jumps):
        totals = costs + later * rest
        following.append(totals.argmin(axis=1))
        rest = totals.min(axis=1)
    if not np.isfinite(rest[0]):
        raise InputError("costs: expected a path of finite cost, found none")
    path = [0]
    for choice in reversed(following):
        path.append(int(choice[path[-1]]))
    return path


def cheapest_times(
    process: Process, network: Network, noise: Tensor, times: Sequence[Fraction], steps: int
) -> list[Fraction]:
    """Return the times of so many steps that GITS chooses (Chen et al., 2024).

    Parameters are those of `jump_costs`.
    """
    path = cheapest_path(jump_costs(process, network, noise, times), steps)
    return [times[k] for k in path]


def evolved_times(
    score: Callable[[list[Fraction]], float],
    times: Sequence[Fraction],
    steps: int,
    stream: torch.Generator,
    *,
    population: int,
    parents: int,
    rounds: int,
) -> tuple[list[Fraction], list[float]]:
    """Return the best times of so many steps that evolution finds (AutoDiffusion, Li et al., 2023).

    It begins with equal steps on the knots and random choices of them. In each round the parents,
    the best so far, have children: crossover takes each time from one of two parents, mutation
    moves times to other knots. None is scored twice.

    Parameters
    ----------
    score
        Of times, lower is better.
    times
        The knots, from 0 to 1.
    stream
        CPU generator.
    population
        Candidates of a round.
    parents
        How many have children.

    Returns
    -------
    times, scores
        The best times, and the best score after each round.

    Raises
    ------
    InputError
        If there are fewer knots than that.
    """
    last = len(times) - 1
    if not 1 <= steps <= last:
        raise InputError(f"steps: expected 1 to {last} for {last + 1} knots, found {steps}")

    def whole(inner: Sequence[int]) -> tuple[int, ...]:
        """Return distinct inner knots in order; those that fell together are drawn anew."""
        kept = set(inner)
        others = [k for k in (torch.randperm(last - 1, generator=stream) + 1).tolist()]
        kept.update([k for k in others if k not in kept][: steps - 1 - len(kept)])
        return tuple(sorted(kept))

    def child() -> tuple[int, ...]:
        one, other = (best[int(torch.randint(len(best), (), generator=stream))] for _ in range(2))
        chosen, moved = torch.rand(2, steps - 1, generator=stream)
        inner = [a if c < 0.5 else b for a, b, c in zip(one, other, chosen, strict=True)]
        knots = torch.randint(1, max(last, 2), (steps - 1,), generator=stream).tolist()
        inner = [k if m < _MUTATION else i for i, k, m in zip(inner, knots, moved, strict=True)]
        return whole(inner)

    found: dict[tuple[int, ...], float] = {}
    scores: list[float] = []
    candidates = [whole([round(last * k / steps) for k in range(1, steps)])]
    candidates += [whole([]) for _ in range(population - 1)]
    for _ in range(rounds):
        for inner in dict.fromkeys(candidates):
            if inner not in found:
                found[inner] = score([times[k] for k in (0, *inner, last)])
        best = sorted(found, key=lambda inner: found[inner])[:parents]
        scores.append(found[best[0]])
        candidates = [child() for _ in range(population)]
    return [times[k] for k in (0, *best[0], last)], scores
