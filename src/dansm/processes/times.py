"""Distributions of training times.

An entry of `dansm.processes.registry.TIMES` is a function ``(count, stream, **options)`` that draws
times in [0, 1), or a subclass of `TimeDistribution` that takes the options.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dansm.couplings.registry import Pick
from dansm.processes.registry import TIMES, entry_of, options_of


class TimeDistribution:
    """A distribution of times from 0 (noise) to 1 (data).

    Parameters
    ----------
    draw
        A function of a count and a CPU generator, the only source of randomness, that returns times
        in [0, 1), shape ``(count,)``, float32 or float64, on the CPU.
    """

    def __init__(self, draw: Callable[[int, torch.Generator], Tensor]) -> None:
        self.draw = draw

    def draw_index(self, count: int, number: int, stream: torch.Generator) -> Tensor:
        """Return which of a number of discrete times, 0 next to the data, int64.

        Each discrete time stands for an equal part of [0, 1).
        """
        return number - 1 - (self.draw(count, stream) * number).long().clamp(max=number - 1)


class Uniform(TimeDistribution):
    """Every time equally often; discrete times without a detour by floating point."""

    def __init__(self) -> None:
        super().__init__(lambda count, stream: torch.rand(count, generator=stream))

    def draw_index(self, count: int, number: int, stream: torch.Generator) -> Tensor:
        """Return uniform discrete times; see `TimeDistribution.draw_index`."""
        return torch.randint(number, (count,), generator=stream)


def log_normal(count: int, stream: torch.Generator, mean: float, deviation: float) -> Tensor:
    """Return times 1/(1 + σ) with ``log σ ~ N(mean, deviation²)``, float64.

    Of EDM these are its noise levels (Karras et al., 2022, table 1). At time t the noise on the
    line ``t x + (1 − t) z`` is σ times the data, so that of a rectified flow logit t is normal.
    """
    logarithms = torch.randn(count, dtype=torch.float64, generator=stream)
    return torch.sigmoid(-(mean + deviation * logarithms))


def make_times(pick: Pick) -> TimeDistribution:
    """Return a distribution of `dansm.processes.registry.TIMES`."""
    entry = entry_of(TIMES, pick, "times")
    found, options = entry.load(), options_of(entry, pick)
    if isinstance(found, type):
        return found(**options)
    return TimeDistribution(partial(found, **options))
