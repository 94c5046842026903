"""What training minimises: a process, a distribution of times and a loss."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.base import Network, Process, column
from dansm.processes.objective_registry import LOSSES
from dansm.processes.registry import PROCESSES, entry_of, options_of
from dansm.processes.times import TimeDistribution, make_times


class Objective:
    """The mean error of a network's predictions, at random times of a process.

    A subclass may learn something of its own beside the network, as a discriminator does. It puts
    modules and optimisers into `modules` and `optimizers`, where training replaces them by those
    that run on its devices, and overrides `loss` and `step`. Its weights are drawn from torch's
    global generator, which training seeds.

    Parameters
    ----------
    process, times
        What is drawn.
    error
        Errors of predictions, see `dansm.processes.losses`.
    of_data
        Whether errors are those of the data that a prediction means, not its own.

    Attributes
    ----------
    evaluations
        What a pair costs, in evaluations of the network: a backward pass is worth two.
    modules
        Networks of its own, by name.
    optimizers
        Of those networks that learn, by name.
    """

    evaluations = 3.0

    def __init__(
        self,
        process: Process,
        times: TimeDistribution,
        error: Callable[[Tensor, Tensor], Tensor],
        of_data: bool = False,
    ) -> None:
        self.process = process
        self.times = times
        self.error = error
        self.of_data = of_data
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the mean loss of a batch of pairs at random times.

        Parameters
        ----------
        samples, noise
            Pairs of one shape ``(n, ...)``.
        stream
            CPU generator of the times, and of whatever else is drawn for this batch.
        """
        times = self.process.draw_times(self.times, samples, stream)
        point = self.process.draw_point(samples, noise, times, stream)
        prediction, target = network(point.input, point.condition), point.target
        if self.of_data:
            scale = column(self.process.data_error(times).to(target), target)
            prediction, target = scale * prediction, scale * target
        errors = self.error(prediction, target)
        if point.weight is not None:
            errors = errors * column(point.weight, errors)
        return errors.mean()

    def step(self, backward: Callable[[Tensor], None]) -> None:
        """Take a step of its own networks, after that of the network on the same batch.

        Gradients that the network's loss has left in them are the objective's to clear.

        Parameters
        ----------
        backward
            In place of ``loss.backward()``.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return all that it has learnt, for a training that goes on later."""
        return {
            kind: {name: part.state_dict() for name, part in parts.items()}
            for kind, parts in (("modules", self.modules), ("optimizers", self.optimizers))
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        for kind, parts in (("modules", self.modules), ("optimizers", self.optimizers)):
            for name, part in parts.items():
                part.load_state_dict(state[kind][name])


def make_process(pick: Pick) -> Process:
    """Return a process of `dansm.processes.registry.PROCESSES`."""
    entry = entry_of(PROCESSES, pick, "process")
    return entry.load()(**options_of(entry, pick))


def make_objective(process: Pick, times: Pick, loss: Pick, **given: Any) -> Objective:
    """Return the objective that three entries of the catalogue make together.

    ``given`` is what the loss may need, see `dansm.processes.objective_registry.LossEntry`.
    """
    entry = entry_of(LOSSES, loss, "loss")
    found, options = entry.load(), options_of(entry, loss)
    parts = make_process(process), make_times(times)
    if isinstance(found, type):  # a subclass of Objective, which has a say in all of it
        missing = sorted(need for need in entry.needs if given.get(need) is None)
        if missing:
            raise InputError(f"loss {loss.text}: expected {missing[0]}, found none")
        options.pop("teacher", None)  # who the guide is
        return found(*parts, **{need: given[need] for need in entry.needs}, **options)
    of_data = options.pop("of", "prediction") == "data"
    return Objective(*parts, partial(found, **options), of_data)
