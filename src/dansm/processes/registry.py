"""Processes, distributions of training times, losses, solvers and time grids, by name.

Free of PyTorch, as `dansm.couplings.registry` is.
"""

import math
from collections.abc import Mapping, Sequence
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
        Whether its points are α data + σ noise, which some solvers, and errors of data, need.
    loss
        The only one that it can be trained with; None: any that suits it.
    two_times
        Whether its network is conditioned on two times.
    """

    grids: tuple[str, ...] = ("uniform", "rho", "gits", "evolved")
    times: int | None = None
    at_data: bool = True
    path: bool = True
    loss: str | None = None
    two_times: bool = False


@dataclass(frozen=True)
class LossEntry(Entry):
    """What training minimises of a prediction.

    Attributes
    ----------
    needs
        Arguments of an objective that are not options: ``channels`` of a sample, and ``guide``, the
        network of the run that the option ``teacher`` names.
    processes
        The only ones that it suits; None: all.
    """

    needs: frozenset[str] = frozenset()
    processes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class GridEntry(Entry):
    """A time grid.

    Attributes
    ----------
    searched
        Whether its times are searched for a finished run, so that they are read from a file; its
        implementation is then the search.
    """

    searched: bool = False


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
            grids=("rho", "uniform", "gits", "evolved"),
            at_data=False,
        ),
        ProcessEntry(
            "mean_flow",
            "dansm.processes.mean_flow:MeanFlow",
            "MeanFlow",
            "rectified flow; a network with `two_times` predicts the mean velocity from one to the "
            "other, which Euler's steps take (Geng et al., 2025)",
            path=False,
            loss="mean_velocity",
            two_times=True,
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


LEVELS = 18
"""Noise levels of EDM's sampler of CIFAR-10, on which Lines Matching trains and samples."""


def check_levels(levels: Sequence[int]) -> None:
    """Raise ``ValueError`` unless places among `LEVELS` noise levels rise."""
    found = [*levels]
    if not found or found != sorted(set(found)) or found[0] < 0 or found[-1] >= LEVELS:
        raise ValueError(f"levels: expected rising places from 0 to {LEVELS - 1}, found {found}")


@dataclass(frozen=True)
class NoiseLevelsOptions(Options):
    """Which of EDM's 18 levels, the highest being 0; None: all."""

    levels: tuple[int, ...] | list[int] | None = None

    def __post_init__(self) -> None:
        if self.levels is not None:
            check_levels(self.levels)


@dataclass(frozen=True)
class UShapedOptions(Options):
    """How steep the density is."""

    a: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.a <= 100:
            raise ValueError(f"a: expected above 0 and at most 100, found {self.a}")


@dataclass(frozen=True)
class ExponentialOptions(Options):
    """How many times as often noise is seen as data."""

    base: float = 10.0

    def __post_init__(self) -> None:
        if not 1 < self.base < math.inf:
            raise ValueError(f"base: expected above 1, found {self.base}")


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
        Entry(
            "u_shaped",
            "dansm.processes.times:u_shaped",
            "U-shaped times",
            "near either end, by the exponent `a` (Lee et al., 2024)",
            UShapedOptions,
        ),
        Entry(
            "exponential",
            "dansm.processes.times:exponential",
            "Exponential times",
            "near the noise, `base` times as often as near the data (Kim et al., 2024)",
            ExponentialOptions,
        ),
        Entry(
            "noise_levels",
            "dansm.processes.times:noise_levels",
            "Noise levels",
            "one of EDM's 18, or of those `levels` that a student is sampled at (Lines Matching)",
            NoiseLevelsOptions,
        ),
        Entry(
            "at_noise",
            "dansm.processes.times:at_noise",
            "Times of the noise",
            "the first time alone, for distillation into one step",
        ),
    ]
)


@dataclass(frozen=True)
class ErrorOptions(Options):
    """Of what the error is: of the prediction, or of the data that it means.

    At noise level τ on a line from the data, the latter's square weighs τ² times the former's.
    """

    of: Literal["prediction", "data"] = "prediction"

    def __post_init__(self) -> None:
        if self.of not in ("prediction", "data"):
            raise ValueError(f"of: expected 'prediction' or 'data', found {self.of!r}")


@dataclass(frozen=True)
class HuberOptions(ErrorOptions):
    """The constant, 0.00054 d unless given, and whether each number counts by itself."""

    c: float | None = None
    elementwise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.c is not None and not 0 < self.c < math.inf:
            raise ValueError(f"c: expected above 0, found {self.c}")


@dataclass(frozen=True)
class MeanVelocityOptions(Options):
    """Share of pairs whose two times are one, and the power that normalises errors."""

    equal: float = 0.25
    power: float = 0.75

    def __post_init__(self) -> None:
        for key in ("equal", "power"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key}: expected 0 to 1, found {getattr(self, key)}")


@dataclass(frozen=True)
class FewStepsOptions(Options):
    """Steps of the sampler that is trained."""

    steps: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 100:
            raise ValueError(f"steps: expected 1 to 100, found {self.steps}")


@dataclass(frozen=True)
class GuideOptions(Options):
    """The run whose model guides."""

    teacher: str


@dataclass(frozen=True)
class PiecewiseOptions(GuideOptions):
    """Knots between windows, which of these are to be straight, and the guide's steps in one."""

    knots: tuple[float, ...] | list[float] = (0.5,)
    straight: tuple[int, ...] | list[int] | None = None
    steps: int = 4

    def __post_init__(self) -> None:
        knots = [*self.knots]
        if knots != sorted(set(knots)) or not all(0 < knot < 1 for knot in knots):
            raise ValueError(f"knots: expected rising times between 0 and 1, found {knots}")
        known = range(len(knots) + 1)
        if self.straight is not None and not {*self.straight} <= {*known}:
            raise ValueError(f"straight: expected some of {[*known]}, found {[*self.straight]}")
        if not 1 <= self.steps <= 1000:
            raise ValueError(f"steps: expected 1 to 1000, found {self.steps}")


@dataclass(frozen=True)
class LinesOptions(Options):
    """By what predicted data are compared, and whether a discriminator joins."""

    distance: Literal["squared", "random"] = "squared"
    adversarial: bool = False

    def __post_init__(self) -> None:
        if self.distance not in ("squared", "random"):
            raise ValueError(f"distance: expected 'squared' or 'random', found {self.distance!r}")


LOSSES: Mapping[str, LossEntry] = by_name(
    [
        LossEntry(
            "squared_error",
            "dansm.processes.losses:squared_error",
            "Squared error",
            "mean squared error `of` the prediction, or of the data that it means",
            ErrorOptions,
        ),
        LossEntry(
            "pseudo_huber",
            "dansm.processes.losses:pseudo_huber",
            "Pseudo-Huber",
            "squared where small beside `c`, absolute where large (Lee et al., 2024; "
            "`elementwise`, Wang et al., 2024)",
            HuberOptions,
        ),
        LossEntry(
            "relative_squared_error",
            "dansm.processes.losses:relative_squared_error",
            "Relative squared error",
            "each pair's divided by its own value, held fixed (Kim et al., 2024)",
            ErrorOptions,
        ),
        LossEntry(
            "mean_velocity",
            "dansm.processes.mean_flow:MeanVelocity",
            "Mean velocity",
            "MeanFlow's identity, its right side held fixed; `equal` pairs are rectified flow's",
            MeanVelocityOptions,
            processes=("mean_flow",),
        ),
        LossEntry(
            "mmd",
            "dansm.processes.finetuning:MMDFinetuning",
            "Discrepancy of samples",
            "of samples of `steps` Euler steps from data, over random features (MMD-DDM, Aiello et "
            "al., 2023)",
            FewStepsOptions,
            needs=frozenset({"channels"}),
        ),
        LossEntry(
            "flow_guided",
            "dansm.processes.finetuning:FlowGuided",
            "Flow-guided distillation",
            "one step beside the pair's sample and two steps of the run `teacher` (SlimFlow, Zhu "
            "et al., 2024)",
            GuideOptions,
            needs=frozenset({"guide"}),
            processes=("rectified_flow",),
        ),
        LossEntry(
            "piecewise",
            "dansm.processes.piecewise:PiecewiseStraight",
            "Straight windows",
            "straight velocities between `knots` in the windows `straight`, and those of the run "
            "`teacher` in the others (half-straightening; PeRFlow, Yan et al., 2024)",
            PiecewiseOptions,
            needs=frozenset({"guide"}),
            processes=("rectified_flow",),
        ),
        LossEntry(
            "lines",
            "dansm.processes.lines:LinesMatching",
            "Lines",
            "the `distance` of predicted data, `squared` or of `random` features; with "
            "`adversarial`, a discriminator joins (Matityahu and Fattal, 2024)",
            LinesOptions,
            needs=frozenset({"channels", "last_layer", "images"}),
            processes=("rectified_flow", "edm"),
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
    of equal steps before and after the time ``knot``, and ``levels``, places among the 18 noise
    levels of EDM, the highest being 0.
    """

    grid: str | None = None
    times: tuple[float, ...] | list[float] | None = None
    knot: float | None = None
    parts: tuple[int, ...] | list[int] | None = None
    levels: tuple[int, ...] | list[int] | None = None

    def __post_init__(self) -> None:
        if self.levels is not None:
            if self.grid is not None or self.times is not None or self.parts is not None:
                raise ValueError("levels: expected neither grid, times nor parts beside them")
            check_levels(self.levels)
            if next(iter(self.levels)) != 0:
                raise ValueError(f"levels: expected the first to be 0, found {[*self.levels]}")
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
class LineOptions(GridOptions):
    """Whether it goes back with fresh noise, in place of the first."""

    fresh: bool = False


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
            "predicts the data and goes back along the line to the first noise, or with `fresh` "
            "noise, one evaluation a step",
            LineOptions,
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

GRIDS: Mapping[str, GridEntry] = by_name(
    [
        GridEntry(
            "uniform", "dansm.processes.grids:uniform", "uniform", "equal steps from noise to data"
        ),
        GridEntry(
            "trailing",
            "dansm.processes.grids:trailing",
            "trailing spacing",
            "N discrete times that end the N equal parts, the last time first (Lin et al., 2024)",
        ),
        GridEntry(
            "original",
            "dansm.processes.grids:original",
            "original spacing",
            "DDIM's published code: range(0, T, T // N), which may hold more than N times",
        ),
        GridEntry(
            "rho",
            "dansm.processes.grids:rho",
            "EDM's noise levels",
            "EDM's, where the noise over the data goes from 80 to 0.002 with ρ = 7, and to 0",
        ),
        GridEntry(
            "gits",
            "dansm.processes.searching:cheapest_times",
            "GITS",
            "searched for each run: those times of a fine solution between which Euler's steps "
            "leave it least (GITS, Chen et al., 2024)",
            searched=True,
        ),
        GridEntry(
            "evolved",
            "dansm.processes.searching:evolved_times",
            "Evolved",
            "searched for each run: by mutation and crossover for the smallest distance to "
            "training images (AutoDiffusion, Li et al., 2023)",
            searched=True,
        ),
    ]
)
