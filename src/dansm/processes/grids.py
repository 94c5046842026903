"""Times at which solvers evaluate a network: named grids, lists of times, and what they cost.

Free of PyTorch, so that plans can count. Times are fractions from 0 (noise) to 1 (data).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.objective_registry import LEVELS
from dansm.processes.registry import PROCESSES, ProcessEntry, entry_of, options_of
from dansm.processes.solver_registry import GRIDS, SOLVERS, SolverEntry

# Noise levels of EDM, and the time t = 1/(1 + σ) of the highest.
HIGHEST_NOISE, LOWEST_NOISE = Fraction(80), Fraction(1, 500)
_EARLIEST = 1 / (1 + HIGHEST_NOISE)


def uniform(steps: int, number: int | None) -> list[Fraction]:
    """Return N + 1 times that end N equal parts."""
    return [Fraction(i, steps) for i in range(steps + 1)]


def trailing(steps: int, number: int) -> list[Fraction]:
    """Return `uniform`, as discrete times: round(T k/N) − 1 for k = N … 1 (Lin et al., 2024)."""
    return uniform(steps, number)


def original(steps: int, number: int) -> list[Fraction]:
    """Return the discrete times ``range(0, T, T // N)``, the last first, and 1.

    There may be more than N of them (999, 666, 333, 0 for N = 3), and they may begin after time 0
    on what is then taken for pure noise.
    """
    indices = range(0, number, number // steps)[::-1]
    return [*(1 - Fraction(index + 1, number) for index in indices), Fraction(1)]


def rho(steps: int, number: int | None) -> list[Fraction]:
    """Return times of EDM's noise levels, 80 to 0.002 and none (Karras et al., 2022, equation 5).

    ``σ_i = (80^(1/ρ) + i/(N − 1) (0.002^(1/ρ) − 80^(1/ρ)))^ρ`` with ρ = 7.
    """
    first, last = float(HIGHEST_NOISE) ** (1 / 7), float(LOWEST_NOISE) ** (1 / 7)
    between = [
        Fraction((first + i / (steps - 1) * (last - first)) ** 7) for i in range(1, steps - 1)
    ]
    levels = [HIGHEST_NOISE, *between, *[LOWEST_NOISE] * (steps > 1), Fraction(0)]
    return [noise_time(level) for level in levels]


def noise_time(level: Fraction) -> Fraction:
    """Return the time of one of EDM's noise levels: 0 for 80, 1 for none, see `noise_level`."""
    return (1 / (1 + level) - _EARLIEST) / (1 - _EARLIEST)


def noise_level(time: Fraction) -> Fraction:
    """Return EDM's noise level σ at a time: (1 − t)/t for t from 1/81 to 1.

    At t the line ``t data + (1 − t) noise`` is ``data + σ noise`` over 1 + σ.
    """
    t = _EARLIEST + (1 - _EARLIEST) * time
    return (1 - t) / t


def two_parts(knot: float, parts: Sequence[int]) -> list[Fraction]:
    """Return equal steps to a knot, and others from there on."""
    middle, (early, late) = Fraction(knot), parts
    return [
        *(middle * i / early for i in range(early)),
        *(middle + (1 - middle) * i / late for i in range(late + 1)),
    ]


def time_index(time: Fraction, number: int) -> int:
    """Return the discrete time nearest to a time: T − 1 for 0, −1 (clean data) for 1."""
    return round(number * (1 - time)) - 1


def sampling_times(
    process: ProcessEntry,
    solver: Pick,
    steps: int | None,
    searched: Mapping[int, Sequence[float]] | None = None,
) -> list[Fraction]:
    """Return all times of a sampler, from its first evaluation to 1; see `evaluations`.

    ``searched`` are the times of a searched grid, by their number of steps.
    """
    options, number = grid_options(process, solver), process.times
    times = options.get("times")
    if SOLVERS[solver.name].adaptive or times is not None:
        if steps:
            why = "as times are given" if times is not None else "as it chooses its own"
            raise InputError(f"{solver.text}: expected no steps, {why}, found {steps}")
        return [Fraction(time) for time in times or (0, 1)]
    if not steps or steps < 1 or (number is not None and steps > number):
        expected = "at least 1" if number is None else f"1 to {number}"
        raise InputError(f"{solver.text}: steps: expected {expected}, found {steps}")
    grid = GRIDS[options["grid"]]
    if not grid.searched:
        return grid.load()(steps, number)
    if searched is None:
        raise InputError(f"{solver.text}: expected times that were searched, found none")
    if steps not in searched or len(searched[steps]) != steps + 1:
        raise InputError(
            f"{solver.text}: expected searched times of {steps} steps, found those of "
            f"{sorted(searched)}"
        )
    return [Fraction(time) for time in searched[steps]]


def is_searched(process: ProcessEntry, solver: Pick) -> bool:
    """Return whether the times of a solver are searched for each run."""
    grid = grid_options(process, solver).get("grid")
    return grid is not None and GRIDS[grid].searched


def grid_options(process: ProcessEntry, solver: Pick) -> dict[str, Any]:
    """Return all options of a solver, with the process's own grid where none is named.

    Raises
    ------
    InputError
        If the process has no such grid, too few discrete times for those given, or no path that
        the solver needs.
    """
    options = options_of(entry_of(SOLVERS, solver, "solver"), solver)
    if SOLVERS[solver.name].needs_path and not process.path:
        raise InputError(
            f"{solver.text}: expected a process whose points are α data + σ noise, found "
            f"{process.name}"
        )
    levels = options.pop("levels", None)
    if levels is not None:
        edm = rho(LEVELS, None)
        options["times"] = [*(edm[k] for k in levels), Fraction(1)]
    knot, parts = options.pop("knot", None), options.pop("parts", None)
    if parts is not None:
        options["times"] = two_parts(knot, parts)
    if options.get("times") is None:
        if "grid" in options:
            options["grid"] = options["grid"] or process.grids[0]
            if options["grid"] not in process.grids:
                raise InputError(
                    f"{solver.text}: expected a grid of {process.name}, one of "
                    f"{list(process.grids)}"
                )
    elif process.times is not None:
        indices = [time_index(Fraction(time), process.times) for time in options["times"]]
        if len(set(indices)) < len(indices):
            raise InputError(
                f"{solver.text}: expected times that are different ones of {process.times}, "
                f"found {indices}"
            )
    return options


def evaluations(process: Pick, solver: Pick, steps: int | None = None) -> int | None:
    """Return how often a sampler evaluates the network for a sample; None: that depends.

    Parameters
    ----------
    process, solver
        Entries of `PROCESSES` and `SOLVERS`.
    steps
        Nominal number of steps; none for solvers that adapt their steps or are given times.

    Raises
    ------
    InputError
        If the process has no such grid, or the solver on it no such number of steps.
    """
    entry = entry_of(PROCESSES, process, "process")
    # How many there are does not depend on what a search finds.
    unknown = {steps: uniform(steps, None)} if steps and is_searched(entry, solver) else None
    times = sampling_times(entry, solver, steps, unknown)
    chosen: SolverEntry = SOLVERS[solver.name]
    first = entry.times is not None and time_index(times[0], entry.times) == entry.times - 1
    if process.options.get("zero_snr") and solver.name != "euler" and first:
        raise InputError(
            f"{solver.text}: expected euler, the only solver that begins where zero_snr leaves no "
            "signal"
        )
    if chosen.adaptive:
        return None
    without = 0 if entry.at_data else chosen.stages - 1
    return chosen.stages * (len(times) - 1) - without
