"""Processes, distributions of training times, losses, solvers and time grids, by name.

Free of PyTorch, as `dansm.couplings.registry` is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

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
    at_data
        Whether its network is defined at time 1, where solvers of several stages evaluate it.
    path
        Whether its points are α data + σ noise, which some solvers need.
    """

    grids: tuple[str, ...] = ("uniform", "rho")
    times: int | None = None
    at_data: bool = True
    path: bool = True


_PREDICTIONS = ("noise", "velocity", "data")


@dataclass(frozen=True)
class DiffusionOptions(Options):
    """The schedule of the noise, what the network predicts, and how its error is weighted."""

    schedule: Literal["linear", "cosine"] = "linear"
    zero_snr: bool = False
    prediction: Literal["noise", "velocity", "data"] = "noise"
    weighting: Literal["noise_loss", "velocity_loss", "data_loss"] | None = None

    def __post_init__(self) -> None:
        for key, known in (
            ("schedule", ["linear", "cosine"]),
            ("prediction", [*_PREDICTIONS]),
            ("weighting", [None, *(f"{one}_loss" for one in _PREDICTIONS)]),
        ):
            if getattr(self, key) not in known:
                raise ValueError(f"{key}: expected one of {known}, found {getattr(self, key)!r}")
        if self.zero_snr and self.prediction == "noise":
            raise ValueError(
                "zero_snr: expected the prediction velocity or data beside it, since noise alone "
                "says nothing of the data, found noise"
            )


@dataclass(frozen=True)
class InterpolantOptions(Options):
    """How much noise there is between, as γ₁ in ``γ² = γ₁² t (1 − t)``."""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise ValueError(f"gamma: expected at least 0, found {self.gamma}")


@dataclass(frozen=True)
class EDMOptions(Options):
    """Standard deviation of the data, and number of PFGM++'s augmented dimensions.

    0.5 is the published value, of CIFAR-10 in [-1, 1]; `dansm.data.store.Store.deviation` measures
    that of a dataset.
    """

    sigma_data: float = 0.5
    augmented: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sigma_data < math.inf:
            raise ValueError(f"sigma_data: expected above 0, found {self.sigma_data}")
        if self.augmented is not None and self.augmented < 1:
            raise ValueError(f"augmented: expected at least 1, found {self.augmented}")


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
            "DDPM with linear β, or the `schedule` cosine; the network predicts the noise, or by "
            "`prediction` velocity or data; `zero_snr` leaves no signal at the end; `weighting` of "
            "the squared error is that of a noise_loss, velocity_loss or data_loss",
            DiffusionOptions,
            grids=("trailing", "original"),
            times=1000,
            at_data=False,
        ),
        ProcessEntry(
            "interpolant",
            "dansm.processes.interpolant:Interpolant",
            "Stochastic interpolant",
            "rectified flow with fresh noise on the way, of deviation `gamma` √(t (1 − t)) "
            "(Albergo et al., 2023)",
            InterpolantOptions,
            path=False,
        ),
        ProcessEntry(
            "edm",
            "dansm.processes.edm:EDM",
            "EDM",
            "noise levels from 80 to 0; the network, preconditioned for data of deviation "
            "`sigma_data`, denoises (Karras et al., 2022); with `augmented` dimensions, PFGM++",
            EDMOptions,
            grids=("rho", "uniform"),
            at_data=False,
        ),
    ]
)


@dataclass(frozen=True)
class LogNormalOptions(Options):
    """Mean and standard deviation of the noise level's logarithm."""

    mean: float = -1.2
    deviation: float = 1.2

    def __post_init__(self) -> None:
        if not math.isfinite(self.mean):
            raise ValueError(f"mean: expected a finite number, found {self.mean}")
        if not 0 < self.deviation < math.inf:
            raise ValueError(f"deviation: expected above 0, found {self.deviation}")


TIMES: Mapping[str, Entry] = by_name(
    [
        Entry(
            "uniform",
            "dansm.processes.times:Uniform",
            "Uniform times",
            "every time equally often",
        ),
        Entry(
            "log_normal",
            "dansm.processes.times:log_normal",
            "Log-normal noise levels",
            "EDM's: log σ is normal with `mean` and `deviation`; of a flow, logit-normal times",
            LogNormalOptions,
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
    needs_path
        Whether it takes a velocity apart into data and noise, see `ProcessEntry`.
    """

    adaptive: bool = False
    stages: int = 1
    needs_path: bool = False


@dataclass(frozen=True)
class GridOptions(Options):
    """Where a solver evaluates the network.

    ``grid`` is one of `GRIDS`; None is the process's first. ``times`` are all times themselves,
    from 0 (noise) to 1 (data), in place of a grid and a number of steps. So are ``parts``, numbers
    of equal steps before and after the time ``knot``.
    """

    grid: str | None = None
    times: tuple[float, ...] | list[float] | None = None
    knot: float | None = None
    parts: tuple[int, ...] | list[int] | None = None

    def __post_init__(self) -> None:
        if self.grid is not None and self.times is not None:
            raise ValueError("grid, times: expected one of them, found both")
        if (self.knot is None) != (self.parts is None):
            raise ValueError("knot, parts: expected both of them, found one")
        if self.knot is not None and self.parts is not None:
            if self.grid is not None or self.times is not None:
                raise ValueError("knot, parts: expected neither grid nor times beside them")
            if not 0 < self.knot < 1:
                raise ValueError(f"knot: expected between 0 and 1, found {self.knot}")
            if len(self.parts) != 2 or min(self.parts) < 1 or max(self.parts) > 10_000:
                raise ValueError(
                    f"parts: expected two numbers of steps from 1 to 10000, found {[*self.parts]}"
                )
        if self.grid is not None and self.grid not in GRIDS:
            raise ValueError(f"unknown grid {self.grid!r}; expected one of {sorted(GRIDS)}")
        if self.times is None:
            return
        times = list(self.times)
        if len(times) < 2 or times != sorted(set(times)) or (times[0], times[-1]) != (0, 1):
            raise ValueError(f"times: expected rising numbers from 0 to 1, found {times}")


@dataclass(frozen=True)
class AdamsOptions(GridOptions):
    """How many past velocities a step uses."""

    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (2, 3):
            raise ValueError(f"order: expected 2 or 3, found {self.order}")


@dataclass(frozen=True)
class HeavyBallOptions(GridOptions):
    """How many past means a step uses, and the part of the newest velocity in the mean."""

    order: int = 2
    beta: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.order <= 4:
            raise ValueError(f"order: expected 1 to 4, found {self.order}")
        if not 0 < self.beta <= 1:
            raise ValueError(f"beta: expected above 0 and at most 1, found {self.beta}")


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
            "second order, two evaluations a step, but for one in a last step to clean data",
            GridOptions,
            stages=2,
        ),
        SolverEntry(
            "adams_bashforth",
            "dansm.processes.solvers:adams_bashforth",
            "Adams-Bashforth",
            "`order` 2 or 3 from past velocities, one evaluation a step",
            AdamsOptions,
        ),
        SolverEntry(
            "heavy_ball",
            "dansm.processes.solvers:heavy_ball",
            "Heavy ball",
            "momentum (GHVB, Wizadwongsa et al., 2024) of `order` 1 to 4 with `beta` of the newest "
            "velocity, one evaluation a step",
            HeavyBallOptions,
        ),
        SolverEntry(
            "dpmpp_2m",
            "dansm.processes.solvers:dpmpp_2m",
            "DPM-Solver++ 2M",
            "second order in the predicted data (Lu et al., 2022), one evaluation a step",
            GridOptions,
            needs_path=True,
        ),
        SolverEntry(
            "line",
            "dansm.processes.solvers:line",
            "Line",
            "predicts the data and goes back along the line to the first noise, one evaluation a "
            "step",
            GridOptions,
            needs_path=True,
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
        Entry(
            "rho",
            "dansm.processes.grids:rho",
            "EDM's noise levels",
            "EDM's, where the noise over the data goes from 80 to 0.002 with ρ = 7, and to 0",
        ),
    ]
)
