"""How straight trajectories are in two dimensions (Matityahu and Fattal, 2024, table 1).

Noises are standard normal, data lie around eight points of a circle, and every system is the
library's own: its process, coupling and loss, with a small perceptron in place of a network of
images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dansm.couplings import Batch, make_coupling
from dansm.couplings.registry import Pick
from dansm.io.arrays import write_arrays
from dansm.io.tables import STRAIGHTNESS_COLUMNS, write_table
from dansm.processes.base import Counted
from dansm.processes.edm import flow_of_edm
from dansm.processes.objective import make_objective, make_process
from dansm.processes.rectified_flow import TIME_SCALE
from dansm.processes.samplers import Sampler
from dansm.randomness import generator, normal, stream_seed

_FLOW, _EDM = Pick("rectified_flow"), Pick("edm", {"sigma_data": 0.75})
_INDEPENDENT, _UNIFORM, _SQUARED = Pick("independent"), Pick("uniform"), Pick("squared_error")
_POINTS, _RADIUS, _SPREAD = 8, 1.0, 0.1
_SHOWN = 60


@dataclass(frozen=True)
class System:
    """A system of the table.

    Attributes
    ----------
    name
        In the table.
    process, coupling, times, loss
        Picks of the catalogue.
    teacher
        The system that makes its pairs, and whose weights it begins with.
    """

    name: str
    process: Pick = _FLOW
    coupling: Pick = _INDEPENDENT
    times: Pick = _UNIFORM
    loss: Pick = _SQUARED
    teacher: str | None = None


def systems(batch_sizes: Sequence[int]) -> list[tuple[System, int]]:
    """Return the systems with their batch sizes: of optimal transport in batches, all of them."""
    largest = max(batch_sizes)
    of_data = Pick("squared_error", {"of": "data"})
    transport = System("bot_cfm", coupling=Pick("minibatch_ot"))
    return [
        (System("edm", _EDM, times=Pick("log_normal")), largest),
        (System("ot_cfm"), largest),
        *((transport, size) for size in batch_sizes),
        (System("reflow_2", teacher="ot_cfm"), largest),
        (System("lines", _EDM, loss=of_data, teacher="edm"), largest),
    ]


def data(count: int, stream: torch.Generator) -> Tensor:
    """Return samples around eight points of a circle, shape (count, 2)."""
    angles = torch.randint(_POINTS, (count,), generator=stream) * (2 * torch.pi / _POINTS)
    points = _RADIUS * torch.stack([angles.cos(), angles.sin()], dim=1)
    return points + _SPREAD * torch.randn(count, 2, generator=stream)


class Perceptron(nn.Module):
    """A network of points (n, 2), conditioned on a number that goes to 1000."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.frequencies = 2.0 ** torch.arange(-2, 6)
        inputs = 2 + 2 * len(self.frequencies)
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2),
        )  # fmt: skip

    def forward(self, points: Tensor, conditions: Tensor) -> Tensor:
        """Return the prediction."""
        phases = conditions[:, None] / 1000 * self.frequencies * torch.pi
        return self.layers(torch.cat([points, phases.sin(), phases.cos()], dim=1))


def straightness(states: Tensor, velocities: Tensor, times: Tensor) -> Tensor:
    """Return ``∫ ‖(x₁ − x₀) − v‖² dt`` of each trajectory (Liu et al., 2022, equation 5).

    Parameters
    ----------
    states, velocities
        At each of k times, shapes (k, n, ...).
    times
        Shape (k,), from 0 to 1.
    """
    deviations = (states[-1] - states[0] - velocities).flatten(2).square().sum(dim=2)
    return torch.trapezoid(deviations, times, dim=0)


def measure_straightness(
    table: Path, arrays: Path, *, batch_sizes: Sequence[int], steps: int, count: int, seeds: int
) -> None:
    """Write a table of `STRAIGHTNESS_COLUMNS`, and trajectories of the first seed to look at.

    The npz holds trajectories of shape (k, n, 2), by ``SYSTEM-SIZE``, and samples, ``data``.

    Parameters
    ----------
    batch_sizes
        Of optimal transport in batches; the others train with the largest.
    steps
        Optimiser steps of each system.
    count
        Trajectories that are measured.
    seeds
        How often, from 0.
    """
    rows: list[dict[str, Any]] = []
    shown: dict[str, np.ndarray] = {"data": data(_SHOWN, generator(0, "toy-shown")).numpy()}
    for seed in range(seeds):
        networks: dict[str, nn.Module] = {}
        for system, size in systems(batch_sizes):
            teacher = networks.get(system.teacher or "")
            network = _trained(system, size, steps, seed, teacher)
            networks.setdefault(system.name, network)
            states, velocities, times = _trajectories(system, network, count, seed)
            values = straightness(states, velocities, times)
            rows.append(
                {
                    "name": system.name,
                    "process": system.process.name,
                    "coupling": "teacher_pairs" if system.teacher else system.coupling.name,
                    "batch_size": size,
                    "seed": seed,
                    "value": float(values.mean()),
                    "standard_error": float(values.std()) / count**0.5,
                    "n": count,
                }
            )
            if seed == 0:
                shown[f"{system.name}-{size}"] = states[:, :_SHOWN].numpy()
    write_table(table, rows, STRAIGHTNESS_COLUMNS)
    write_arrays(arrays, shown)


def _trained(
    system: System, size: int, steps: int, seed: int, teacher: nn.Module | None
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "toy-weights"))
        network = Perceptron()
    pairs = _pairs_of(system, size, seed, teacher)
    if teacher is not None:
        network.load_state_dict(teacher.state_dict())
    objective = make_objective(system.process, system.times, system.loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        samples, noise = pairs(step)
        loss = objective.loss(network, samples, noise, generator(seed, "toy-times", step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval().requires_grad_(False)


def _pairs_of(
    system: System, size: int, seed: int, teacher: nn.Module | None
) -> Callable[[int], tuple[Tensor, Tensor]]:
    if teacher is None:
        coupling = make_coupling(
            system.coupling.name,
            seed=stream_seed(seed, "toy-coupling"),
            **system.coupling.options,
        )

        def drawn(step: int) -> tuple[Tensor, Tensor]:
            samples = data(size, generator(seed, "toy-data", step))
            pair = next(coupling.pairs([Batch(samples)]))
            return pair.samples, pair.noise

        return drawn
    noise = normal((32 * size, 2), generator(seed, "toy-pairs"))
    solver = Pick("heun", {"grid": "rho"} if system.process == _EDM else {})
    made = Sampler(system.process, solver).sample(teacher, noise, 40).samples

    def looked_up(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(noise), (size,), generator=generator(seed, "toy-rows", step))
        return made[rows], noise[rows]

    return looked_up


def _trajectories(
    system: System, network: nn.Module, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, velocities and times of trajectories of a flow, by 100 steps of Heun.

    Those of EDM are shown as the flow's that it is: at t their points are t times the data's scale.
    """
    predict = network
    if system.process == _EDM:
        predict = flow_of_edm(make_process(_EDM), network)
    # EDM's first noise level is 80, that of the flow's time 1/81.
    low = 1 / 81 if system.process == _EDM else 1e-3
    counted, times = Counted(predict), torch.linspace(low, 0.998, 101)
    points = normal((count, 2), generator(seed, "toy-trajectories"))
    states, velocities = [points], []
    for start, end in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        first = counted(points, TIME_SCALE * start)
        second = counted(points + (end - start) * first, TIME_SCALE * end)
        points = points + (end - start) / 2 * (first + second)
        states.append(points)
        velocities.append(first)
    velocities.append(counted(points, TIME_SCALE * times[-1].item()))
    share = (times - low) / (0.998 - low)
    scale = 0.998 - low
    return torch.stack(states), torch.stack(velocities) * scale, share
