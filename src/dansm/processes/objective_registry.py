"""What networks are trained by: distributions of times, and losses, by name; without PyTorch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dansm.couplings.registry import Entry, Options, by_name


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
