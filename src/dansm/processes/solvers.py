"""Solvers of a process's differential equation, from noise to samples, on any times.

An entry of `dansm.processes.registry.SOLVERS` is a function ``(process, network, noise, times,
**options)``; its options beside ``grid`` and ``times`` are passed on.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from dansm.processes.base import Conditioned, Process


def euler(
    process: Process, network: Conditioned, noise: Tensor, times: Sequence[Fraction]
) -> Tensor:
    """First order, by the process's own step: the paper's of rectified flow, DDIM of diffusion."""
    points = noise
    for time, following in itertools.pairwise(times):
        points = process.euler(network, points, time, following)
    return points


def heun(
    process: Process, network: Conditioned, noise: Tensor, times: Sequence[Fraction]
) -> Tensor:
    """Heun's second-order method; a step to where the network is not defined is of first order."""
    points = process.start(noise, times[0])
    for time, following in itertools.pairwise(times):
        start, end = process.coordinate(time), process.coordinate(following)
        first = process.velocity(network, points, start)
        if following > process.last:
            points = points + (end - start) * first
            continue
        second = process.velocity(network, points + (end - start) * first, end)
        points = points + (end - start) / 2 * (first + second)
    return process.finish(points)


def rk45(
    process: Process,
    network: Conditioned,
    noise: Tensor,
    times: Sequence[Fraction],
    tolerance: float = 1e-5,
) -> Tensor:
    """Adaptive Dormand–Prince 5(4) by `scipy.integrate.solve_ivp`, from the first time to the last.

    The batch is one system, so its step sizes suit the batch as a whole. Where the network is not
    defined at the end, one step of first order follows.

    Parameters
    ----------
    tolerance
        Relative and absolute tolerance.

    Raises
    ------
    RuntimeError
        If the solver fails or the velocity is not finite.
    """
    points = process.start(noise, times[0])
    start, end = process.coordinate(times[0]), process.coordinate(min(times[-1], process.last))

    def derivative(time: float, flat: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(flat).reshape(points.shape).to(points)
        value = process.velocity(network, state, time).double().cpu().numpy().ravel()
        if not np.isfinite(value).all():  # the solver would halve its step for ever
            raise RuntimeError(f"RK45 failed: the velocity is not finite at {time}")
        return value

    solution = solve_ivp(
        derivative,
        (start, end),
        points.double().cpu().numpy().ravel(),
        method="RK45",
        rtol=tolerance,
        atol=tolerance,
        t_eval=[end],
    )
    if not solution.success:
        raise RuntimeError(f"RK45 failed: {solution.message}")
    points = torch.from_numpy(solution.y[:, -1]).reshape(points.shape).to(points)
    if times[-1] > process.last:
        rest = process.coordinate(times[-1]) - end
        points = points + rest * process.velocity(network, points, end)
    return process.finish(points)
