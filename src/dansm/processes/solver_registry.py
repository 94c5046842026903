"""What models are sampled by: solvers and time grids, by name; without PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass

from dansm.couplings.registry import Entry, Options, by_name
from dansm.processes.objective_registry import check_levels


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
        Whether it takes a velocity apart into data and noise, see
        `dansm.processes.registry.ProcessEntry`.
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
