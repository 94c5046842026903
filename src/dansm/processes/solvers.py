"""Solvers of ``dx/dt = field(x, t)`` on any time grid."""

import itertools

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from dansm.processes.base import Field


def euler(field: Field, points: Tensor, times: list[float], step_sizes: list[float]) -> Tensor:
    """Explicit Euler: the field at ``times[i]``, followed for ``step_sizes[i]``."""
    for time, size in zip(times, step_sizes, strict=True):
        points = points + size * field(points, time)
    return points


def heun(field: Field, points: Tensor, times: list[float]) -> Tensor:
    """Heun's second-order method through a grid of n + 1 times: 2 n evaluations."""
    for start, end in itertools.pairwise(times):
        first = field(points, start)
        second = field(points + (end - start) * first, end)
        points = points + (end - start) / 2 * (first + second)
    return points


def rk45(field: Field, points: Tensor, start: float, end: float, tolerance: float = 1e-5) -> Tensor:
    """Adaptive Dormand–Prince 5(4) by `scipy.integrate.solve_ivp`.

    The batch is one system, so its step sizes suit the batch as a whole.

    Parameters
    ----------
    tolerance
        Relative and absolute tolerance.

    Raises
    ------
    RuntimeError
        If the solver fails or the field is not finite.
    """

    def derivative(time: float, flat: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(flat).reshape(points.shape).to(points)
        value = field(state, time).double().cpu().numpy().ravel()
        if not np.isfinite(value).all():  # the solver would halve its step for ever
            raise RuntimeError(f"RK45 failed: the field is not finite at t = {time}")
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
    return torch.from_numpy(solution.y[:, -1]).reshape(points.shape).to(points)
