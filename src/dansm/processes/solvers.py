"""Solvers of a process's differential equation, from noise to samples, on any times.

An entry of `dansm.processes.registry.SOLVERS` is a function ``(process, network, noise, times,
**options)``; its options beside ``grid`` and ``times`` are passed on.
"""

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import torch
from scipy.integrate import RK45
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
    """Adaptive Dormand–Prince 5(4), with scipy's control of steps, from the first time to the last.

    Every sample has steps of its own, so it does not depend on the others of its batch. Where the
    network is not defined at the end, one step of first order follows.

    Parameters
    ----------
    tolerance
        Relative and absolute tolerance of the root mean square over a sample.

    Raises
    ------
    RuntimeError
        If steps become too small, or the velocity is not finite.
    """
    points = process.start(noise, times[0])
    start, end = process.coordinate(times[0]), process.coordinate(min(times[-1], process.last))

    def slope(at: np.ndarray, flat: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(flat).reshape(-1, *points.shape[1:]).to(points)
        value = process.velocity(network, state, at).double().cpu().numpy().reshape(flat.shape)
        if not np.isfinite(value).all():  # steps would be halved for ever
            raise RuntimeError(f"RK45 failed: the velocity is not finite at {at.min()}")
        return value

    def norm(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return np.sqrt(np.square(values / scale).mean(axis=1))

    y = points.double().flatten(1).cpu().numpy().copy()  # not the noise itself
    at, direction = np.full(len(y), start), np.sign(end - start)
    first = slope(at, y)
    sizes = _first_sizes(slope, norm, at, y, first, end - start, tolerance)
    refused = np.zeros(len(y), dtype=bool)
    going = np.flatnonzero(at != end)  # samples that have not arrived
    stages = np.empty((7, *y.shape))
    while len(going):
        u, x, k = at[going], y[going], stages[:, : len(going)]
        smallest = 10 * np.abs(np.nextafter(u, direction * np.inf) - u)
        if (sizes[going] < smallest).any():
            raise RuntimeError(f"RK45 failed: its steps become too small at {u.min()}")
        arriving = np.abs(end - u) <= sizes[going]
        new = np.where(arriving, end, u + direction * sizes[going])
        h = (new - u)[:, None]
        k[0] = first[going]
        for s in range(1, 6):
            shown = x + h * np.tensordot(RK45.A[s, :s], k[:s], 1)
            k[s] = slope(u + RK45.C[s] * h[:, 0], shown)
        moved = x + h * np.tensordot(RK45.B, k[:6], 1)
        k[6] = slope(new, moved)
        scale = tolerance + tolerance * np.maximum(np.abs(x), np.abs(moved))
        error = norm(h * np.tensordot(RK45.E, k, 1), scale)
        good = error < 1
        factor = np.clip(0.9 * np.maximum(error, 1e-10) ** -0.2, 0.2, 10)
        factor[good & refused[going]] = np.minimum(1, factor[good & refused[going]])
        sizes[going] = np.abs(h[:, 0]) * factor
        refused[going] = ~good
        done = going[good]
        at[done], y[done], first[done] = new[good], moved[good], k[6][good]
        going = np.flatnonzero(at != end)
    points = torch.from_numpy(y).reshape(points.shape).to(points)
    if times[-1] > process.last:
        rest = process.coordinate(times[-1]) - end
        points = points + rest * process.velocity(network, points, end)
    return process.finish(points)


def _first_sizes(
    slope: Callable[[np.ndarray, np.ndarray], np.ndarray],
    norm: Callable[[np.ndarray, np.ndarray], np.ndarray],
    at: np.ndarray,
    y: np.ndarray,
    first: np.ndarray,
    span: float,
    tolerance: float,
) -> np.ndarray:
    """Return each sample's first step size (Hairer, Nørsett and Wanner, section II.4)."""
    scale = tolerance + tolerance * np.abs(y)
    length, speed = norm(y, scale), norm(first, scale)
    tiny = (length < 1e-5) | (speed < 1e-5)
    trial = np.where(tiny, 1e-6, 0.01 * length / np.where(tiny, 1, speed))
    trial = np.minimum(trial, abs(span))
    second = slope(at + np.sign(span) * trial, y + (np.sign(span) * trial)[:, None] * first)
    bend = norm(second - first, scale) / trial
    most = np.maximum(speed, bend)
    still = most <= 1e-15
    sizes = np.where(
        still, np.maximum(1e-6, 1e-3 * trial), (0.01 / np.where(still, 1, most)) ** 0.2
    )
    return np.minimum.reduce([100 * trial, sizes, np.full(len(y), abs(span))])
