"""Paths that are made straight between knots: half-straightening, and PeRFlow's windows.

With one knot these are the early and the late half of a path; with both straight, PeRFlow (Yan et
al., 2024) of two windows; without a knot, reflow whose pairs are made as they are needed.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from dansm.processes.base import Counted, Network, Process, column
from dansm.processes.objective import Objective
from dansm.processes.rectified_flow import TIME_SCALE
from dansm.processes.solvers import heun
from dansm.processes.times import TimeDistribution


class PiecewiseStraight(Objective):
    """The error of straight velocities in some windows, and of the teacher's in the others.

    A pair is put at the start of a window, ``x_s = s x + (1 − s) z``, from where the teacher goes
    to its end by Heun's method. In a window that is to be straight the target is the difference of
    both ends over the window's length, at a time between them. In another it is the teacher's
    velocity at a point of the pair, so that what is not straightened is not forgotten.

    Parameters
    ----------
    guide
        The teacher's network.
    knots
        Between windows, rising, between 0 and 1.
    straight
        Which windows, counted from the noise, are to be straight; None: all.
    steps
        Of the teacher in a window.
    """

    def __init__(
        self,
        process: Process,
        times: TimeDistribution,
        guide: Network,
        knots: Sequence[float] = (0.5,),
        straight: Sequence[int] | None = None,
        steps: int = 4,
    ) -> None:
        super().__init__(process, times, lambda prediction, target: prediction - target)
        self.guide = guide
        self.ends = [*itertools.pairwise([Fraction(0), *map(Fraction, knots), Fraction(1)])]
        self.straight = [*range(len(self.ends))] if straight is None else [*straight]
        self.steps = steps
        # Pairs fall into windows by their times; the mean is told for uniform ones.
        lengths = [float(end - start) for start, end in self.ends]
        solved = sum(lengths[k] for k in self.straight)
        self.evaluations = 3 + 2 * steps * solved + (1 - solved)

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the loss; see `Objective.loss`."""
        process = self.process
        t = process.draw_times(self.times, samples, stream)
        points, targets = torch.empty_like(samples), torch.empty_like(samples)
        for k, (start, end) in enumerate(self.ends):
            low, high = process.coordinate(start), process.coordinate(end)
            inside = (t >= low) & ((t < high) if end < 1 else (t <= 1))
            if not inside.any():
                continue
            x, z, at = samples[inside], noise[inside], t[inside]
            if k in self.straight:
                left = low * x + (1 - low) * z
                right = self._solved(left, start, end)
                share = column((at - low) / (high - low), x)
                points[inside] = (1 - share) * left + share * right
                targets[inside] = (right - left) / (high - low)
            else:
                point = process.point(x, z, at)
                points[inside] = point.input
                with torch.no_grad():
                    targets[inside] = self.guide(point.input, point.condition)
        return (network(points, TIME_SCALE * t) - targets).square().mean()

    @torch.no_grad()
    def _solved(self, points: Tensor, start: Fraction, end: Fraction) -> Tensor:
        times = [start + (end - start) * k / self.steps for k in range(self.steps + 1)]
        return heun(self.process, Counted(self.guide), points, times)
