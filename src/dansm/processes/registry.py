"""Processes, distributions of training times, losses, solvers and time grids, by name.

Free of PyTorch, as `dansm.couplings.registry` is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dansm.couplings.registry import Entry, Options, Pick, by_name
from dansm.errors import InputError

_E = TypeVar("_E", bound=Entry)


def entry_of(entries: Mapping[str, _E], pick: Pick, kind: str) -> _E:
    """Return the entry that a pick names; raise `InputError` if there is none."""
    if pick.name not in entries:
        raise InputError(f"unknown {kind} {pick.name!r}; expected one of {sorted(entries)}")
    return entries[pick.name]


def options_of(entry: Entry, pick: Pick) -> dict[str, Any]:
    """Return all options of an entry, those that the pick gives and the others' defaults.

    Raises
    ------
    InputError
        If the entry has no such option, or it cannot have that value.
    """
    try:
        return dict(vars(entry.options(**pick.options)))
    except (TypeError, ValueError) as error:
        raise InputError(f"{pick.text}: {error}") from error


@dataclass(frozen=True)
class ProcessEntry(Entry):
    """A process between noise and data.

    Attributes
    ----------
    grids
        Names of `GRIDS` that it can be sampled on; the first is the default.
    times
        Number of its discrete times; None: time is continuous.
    """

    grids: tuple[str, ...] = ("uniform",)
    times: int | None = None


PROCESSES: Mapping[str, ProcessEntry] = by_name(
    [
        ProcessEntry(
            "rectified_flow",
            "dansm.processes.rectified_flow:RectifiedFlow",
            "Rectified flow",
            "straight paths from noise to data; the network predicts the velocity",
        ),
        ProcessEntry(
            "diffusion",
            "dansm.processes.diffusion:Diffusion",
            "Diffusion",
            "DDPM with linear β; the network predicts the noise",
            grids=("trailing", "original"),
            times=1000,
        ),
    ]
)

TIMES: Mapping[str, Entry] = by_name(
    [
        Entry(
            "uniform",
            "dansm.processes.times:Uniform",
            "Uniform times",
            "every time equally often",
        ),
    ]
)

LOSSES: Mapping[str, Entry] = by_name(
    [
        Entry(
            "squared_error",
            "dansm.processes.losses:squared_error",
            "Squared error",
            "mean squared error of the prediction",
        ),
    ]
)


@dataclass(frozen=True)
class SolverEntry(Entry):
    """A solver of a process's differential equation.

    Attributes
    ----------
    adaptive
        Whether it chooses its own steps, so that plans give it none.
    stages
        Evaluations of the network in a step.
    """

    adaptive: bool = False
    stages: int = 1


@dataclass(frozen=True)
class GridOptions(Options):
    """Where a solver evaluates the network.

    ``grid`` is one of `GRIDS`; None is the process's first. ``times`` are all times themselves,
    from 0 (noise) to 1 (data), in place of a grid and a number of steps.
    """

    grid: str | None = None
    times: tuple[float, ...] | list[float] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and self.times is not None:
            raise ValueError("grid, times: expected one of them, found both")
        if self.grid is not None and self.grid not in GRIDS:
            raise ValueError(f"unknown grid {self.grid!r}; expected one of {sorted(GRIDS)}")
        if self.times is None:
            return
        times = list(self.times)
        if len(times) < 2 or times != sorted(set(times)) or (times[0], times[-1]) != (0, 1):
            raise ValueError(f"times: expected rising numbers from 0 to 1, found {times}")


@dataclass(frozen=True)
class AdaptiveOptions(Options):
    """Relative and absolute tolerance of a step."""

    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance: expected between 0 and 1, found {self.tolerance}")


SOLVERS: Mapping[str, SolverEntry] = by_name(
    [
        SolverEntry(
            "euler",
            "dansm.processes.solvers:euler",
            "Euler",
            "first order, one evaluation a step; of diffusion it is DDIM",
            GridOptions,
        ),
        SolverEntry(
            "heun",
            "dansm.processes.solvers:heun",
            "Heun",
            "second order, two evaluations a step, but for a last one to clean data (diffusion)",
            GridOptions,
            stages=2,
        ),
        SolverEntry(
            "rk45",
            "dansm.processes.solvers:rk45",
            "RK45, adaptive steps",
            "Dormand-Prince 5(4) with adaptive steps",
            AdaptiveOptions,
            adaptive=True,
        ),
    ]
)

GRIDS: Mapping[str, Entry] = by_name(
    [
        Entry(
            "uniform", "dansm.processes.grids:uniform", "uniform", "equal steps from noise to data"
        ),
        Entry(
            "trailing",
            "dansm.processes.grids:trailing",
            "trailing spacing",
            "N discrete times that end the N equal parts, the last time first (Lin et al., 2024)",
        ),
        Entry(
            "original",
            "dansm.processes.grids:original",
            "original spacing",
            "DDIM's published code: range(0, T, T // N), which may hold more than N times",
        ),
    ]
)
