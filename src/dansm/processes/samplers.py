"""Sampling a network: a process, a solver of its differential equation, and times."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from dansm.couplings.registry import Pick
from dansm.processes.base import Counted, Network, Process
from dansm.processes.grids import grid_options, sampling_times
from dansm.processes.objective import make_process
from dansm.processes.registry import PROCESSES
from dansm.processes.solver_registry import SOLVERS


class Sampled(NamedTuple):
    """Samples and the number of network evaluations that each of them took, on average."""

    samples: Tensor
    nfe: float


class Sampler:
    """A solver of a process on a grid.

    Parameters
    ----------
    process
        An entry of `dansm.processes.registry.PROCESSES`, or one that is made.
    solver
        An entry of `dansm.processes.solver_registry.SOLVERS` with ``grid`` or ``times``.
    searched
        Times of a searched grid, by their number of steps.

    Raises
    ------
    InputError
        If a name is unknown, or the process has no such grid.
    """

    def __init__(
        self,
        process: Pick | Process,
        solver: Pick,
        searched: Mapping[int, Sequence[float]] | None = None,
    ) -> None:
        self.process = make_process(process) if isinstance(process, Pick) else process
        self.solver = solver
        self.searched = searched
        self._entry = PROCESSES[self.process.name]
        options = grid_options(self._entry, solver)
        self._options = {k: v for k, v in options.items() if k not in ("grid", "times")}

    def sample(self, network: Network, noise: Tensor, steps: int | None = None) -> Sampled:
        """Generate samples from noises.

        Parameters
        ----------
        noise
            Shape ``(n, ...)``.
        steps
            Nominal number of steps. Solvers that adapt their steps, or are given their times, take
            none: None or 0.

        Raises
        ------
        InputError
            If the solver cannot take so many steps.
        """
        times = sampling_times(self._entry, self.solver, steps, self.searched)
        counted = Counted(network)
        solve = SOLVERS[self.solver.name].load()
        samples = solve(self.process, counted, noise, times, **self._options)
        nfe = counted.evaluations / len(noise)
        return Sampled(samples, int(nfe) if nfe.is_integer() else nfe)
