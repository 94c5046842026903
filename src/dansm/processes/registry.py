"""Processes between noise and data, by name.

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
