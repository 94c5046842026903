"""Sampling a network: a process, a solver of its differential equation, and times."""

from typing import NamedTuple

from torch import Tensor

from dansm.couplings.registry import Pick
from dansm.processes.base import Counted, Network, Process
from dansm.processes.grids import grid_options, sampling_times
from dansm.processes.objective import make_process
from dansm.processes.registry import PROCESSES, SOLVERS


class Sampled(NamedTuple):
    """Samples and the number of network evaluations each of them took."""

    samples: Tensor
    nfe: int


class Sampler:
    """A solver of a process on a grid; `make_sampler` is the usual way to get one."""

    def __init__(self, process: Process, solver: Pick) -> None:
        self.process = process
        self.solver = solver
        self._entry = PROCESSES[process.name]
        self._options = grid_options(self._entry, process.times, solver)
        for of_grid in ("grid", "times"):
            self._options.pop(of_grid, None)

    def check_steps(self, steps: int | None) -> None:
        """Raise `InputError` unless the sampler can take so many steps, none where it takes none.

        Solvers that adapt their steps, or are given their times, take none: None or 0.
        """
        sampling_times(self._entry, self.process.times, self.solver, steps)

    def sample(self, network: Network, noise: Tensor, steps: int | None = None) -> Sampled:
        """Generate samples from noises.

        Parameters
        ----------
        noise
            Shape ``(n, ...)``.
        steps
            Nominal number of steps; see `check_steps`.
        """
        times = sampling_times(self._entry, self.process.times, self.solver, steps)
        counted = Counted(network)
        solve = SOLVERS[self.solver.name].load()
        return Sampled(solve(self.process, counted, noise, times, **self._options), counted.calls)


def make_sampler(process: Pick | Process, solver: Pick) -> Sampler:
    """Return a sampler of a process.

    Parameters
    ----------
    process
        An entry of `dansm.processes.registry.PROCESSES`, or one that is made.
    solver
        An entry of `dansm.processes.registry.SOLVERS` with ``grid`` or ``times``.

    Raises
    ------
    InputError
        If a name is unknown, or the process has no such grid.
    """
    return Sampler(make_process(process) if isinstance(process, Pick) else process, solver)
