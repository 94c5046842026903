"""Distributions of training times.

An entry of `dansm.processes.objective_registry.TIMES` is a function ``(count, stream, **options)``
that draws times in [0, 1), or a subclass of `TimeDistribution` that takes the options.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from dansm.couplings.registry import Pick
from dansm.processes.grids import noise_level, rho
from dansm.processes.objective_registry import LEVELS, TIMES
from dansm.processes.registry import entry_of, options_of


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


def at_noise(count: int, stream: torch.Generator) -> Tensor:
    """Return time 0 throughout, where one-step distillation trains (Liu et al., 2022)."""
    return torch.zeros(count)


def noise_levels(
    count: int, stream: torch.Generator, levels: Sequence[int] | None = None
) -> Tensor:
    """Return times 1/(1 + σ) of EDM's 18 noise levels, or of some of them, each equally often.

    Of EDM they are these levels, the highest of which is its first.
    """
    chosen = range(LEVELS) if levels is None else levels
    edm = torch.tensor([1 / (1 + float(noise_level(t))) for t in rho(LEVELS, None)[:-1]])
    places = torch.tensor([*chosen])[torch.randint(len(chosen), (count,), generator=stream)]
    return edm.double()[places]


def u_shaped(count: int, stream: torch.Generator, a: float) -> Tensor:
    """Return times of the density ``a/(e^a − 1) (e^{a t} + e^{a (1 − t)})/2``, float64.

    Most are near either end (Lee et al., 2024, section 4.1, as their code has it).
    """
    uniform, side = torch.rand(2, count, dtype=torch.float64, generator=stream)
    rising = torch.log1p(uniform * math.expm1(a)) / a
    return torch.where(side < 0.5, rising, 1 - rising).clamp(max=1 - 2**-24)


def exponential(count: int, stream: torch.Generator, base: float) -> Tensor:
    """Return times of a density proportional to ``base ** (1 − t)``, float64.

    Most are near the noise (Kim et al., 2024, section 4, base 10).
    """
    uniform = torch.rand(count, dtype=torch.float64, generator=stream)
    return -torch.log1p(-uniform * (1 - 1 / base)) / math.log(base)


def log_normal(count: int, stream: torch.Generator, mean: float, deviation: float) -> Tensor:
    """Return times 1/(1 + σ) with ``log σ ~ N(mean, deviation²)``, float64.

    Of EDM these are its noise levels (Karras et al., 2022, table 1). At time t the noise on the
    line ``t x + (1 − t) z`` is σ times the data, so that of a rectified flow logit t is normal.
    """
    logarithms = torch.randn(count, dtype=torch.float64, generator=stream)
    return torch.sigmoid(-(mean + deviation * logarithms))


def make_times(pick: Pick) -> TimeDistribution:
    """Return a distribution of `dansm.processes.objective_registry.TIMES`."""
    entry = entry_of(TIMES, pick, "times")
    found, options = entry.load(), options_of(entry, pick)
    if isinstance(found, type):
        return found(**options)
    return TimeDistribution(partial(found, **options))
