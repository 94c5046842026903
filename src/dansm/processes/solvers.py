"""Solvers of a process's differential equation, from noise to samples, on any times.

An entry of `dansm.processes.solver_registry.SOLVERS` is a function ``(process, network, noise,
times, **options)``; its options beside ``grid`` and ``times`` are passed on.
"""

import hashlib
import itertools
import math
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
    points = process.begin(noise, times[0])
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
        if process.last < following == 1:
            points = points + (end - start) * first
            continue
        second = process.velocity(network, points + (end - start) * first, end)
        points = points + (end - start) / 2 * (first + second)
    return process.finish(points)


def inverse(
    process: Process, network: Conditioned, samples: Tensor, times: Sequence[Fraction]
) -> Tensor:
    """Return the noises that lead to samples, by Heun's method from the last time to the first.

    Where the network is not defined at the end, the solution begins at its last time.
    """
    points = samples
    for time, following in reversed([*itertools.pairwise(times)]):
        start, end = process.coordinate(min(following, process.last)), process.coordinate(time)
        first = process.velocity(network, points, start)
        second = process.velocity(network, points + (end - start) * first, end)
        points = points + (end - start) / 2 * (first + second)
    return process.to_noise(points, times[0])


def adams_bashforth(
    process: Process,
    network: Conditioned,
    noise: Tensor,
    times: Sequence[Fraction],
    order: int = 2,
) -> Tensor:
    """Adams–Bashforth: velocities of past steps, extrapolated by the polynomial through them.

    The first steps, of which there are too few, are of lower orders.

    Parameters
    ----------
    order
        How many velocities are used.
    """
    return heavy_ball(process, network, noise, times, order, beta=1.0)


def heavy_ball(
    process: Process,
    network: Conditioned,
    noise: Tensor,
    times: Sequence[Fraction],
    order: int = 2,
    beta: float = 0.8,
) -> Tensor:
    """Heavy-ball momentum, GHVB (Wizadwongsa et al., 2024): a running mean of velocities.

    With means ``m_n = (1 − β) m_{n−1} + β v_n`` the velocity is
    ``v_n = m_n + (1 − β)/β (m_n − m_{n−1})``, whose first term is extrapolated to the given order
    and whose second to one less. Of equal steps these are the published coefficients; of others,
    those of the polynomials through the same values. Where the step size jumps, m lags behind for
    some steps whatever the order.

    Parameters
    ----------
    order
        How many means are used.
    beta
        1 is `adams_bashforth`.
    """
    points = process.start(noise, times[0])
    past: list[float] = []
    means: list[Tensor] = []  # with `past` the newest first
    for time, following in itertools.pairwise(times):
        start, end = process.coordinate(time), process.coordinate(following)
        velocity = process.velocity(network, points, start)
        means = [(1 - beta) * means[0] + beta * velocity if means else velocity, *means][:order]
        past = [start, *past][:order]
        points = points + _extrapolated(past, means, end)
        if beta != 1 and len(means) > 1:
            changes = [newer - older for newer, older in itertools.pairwise(means)]
            points = points + (1 - beta) / beta * _extrapolated(past[:-1], changes, end)
    return process.finish(points)


def _extrapolated(past: Sequence[float], values: Sequence[Tensor], end: float) -> Tensor:
    """Integrate the polynomial through past values, the newest first, from the newest to the end.

    Its weights are those that integrate all powers below their number.
    """
    step = end - past[0]
    powers = np.vander((np.array(past) - past[0]) / step, increasing=True).T
    weights = step * np.linalg.solve(powers, 1 / np.arange(1, len(past) + 1))
    return sum(
        (weight * value for weight, value in zip(weights.tolist(), values, strict=True)),
        start=torch.zeros_like(values[0]),
    )


def dpmpp_2m(
    process: Process, network: Conditioned, noise: Tensor, times: Sequence[Fraction]
) -> Tensor:
    """DPM-Solver++(2M): linear in the predicted data over ``λ = log(α/σ)`` (Lu et al., 2022).

    Its first step, and one to data without noise, where λ has no end, are of first order.
    """
    points = process.start(noise, times[0])
    previous, before = None, math.inf
    for time, following in itertools.pairwise(times):
        start, end = process.coordinate(time), process.coordinate(following)
        (alpha, sigma), (next_alpha, next_sigma) = process.path(start), process.path(end)
        data = _data(process, network, points, start)
        ahead = math.inf
        if alpha > 0 and following < 1:
            ahead = math.log(next_alpha / next_sigma) - math.log(alpha / sigma)
        used = data
        if previous is not None and ahead < math.inf:
            used = data + ahead / (2 * before) * (data - previous)
        rest = next_sigma / sigma
        points = rest * points + (next_alpha - rest * alpha) * used
        previous, before = data, ahead
    return process.finish(points)


def line(
    process: Process,
    network: Conditioned,
    noise: Tensor,
    times: Sequence[Fraction],
    fresh: bool = False,
) -> Tensor:
    """Predict the data, and go back along the line from there to the first noise.

    So sample the students of Lines Matching (Matityahu and Fattal, 2024) and of improved rectified
    flow (Lee et al., 2024).

    Parameters
    ----------
    fresh
        Go back with fresh noise instead, as consistency models do (Song et al., 2023, algorithm 1).
        It follows from the first noise of the same sample, so that samples do not depend on their
        batch.
    """
    points, back = process.start(noise, times[0]), process.noise(noise)
    streams = [_stream_of(one) for one in noise] if fresh else []
    for time, following in itertools.pairwise(times):
        data = _data(process, network, points, process.coordinate(time))
        alpha, sigma = process.path(process.coordinate(following))
        if fresh and sigma > 0:
            drawn = [
                torch.randn(one.shape, generator=s) for one, s in zip(noise, streams, strict=False)
            ]
            back = process.noise(torch.stack(drawn).to(noise))
        points = alpha * data + sigma * back
    return process.finish(points)


def _stream_of(noise: Tensor) -> torch.Generator:
    """Return a stream that follows from a noise."""
    digest = hashlib.sha256(noise.detach().float().cpu().numpy().tobytes()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def _data(process: Process, network: Conditioned, points: Tensor, coordinate: float) -> Tensor:
    """Return the data to which the velocity leads: paths of a pair are straight in y over u."""
    end = process.coordinate(Fraction(1))
    return points + (end - coordinate) * process.velocity(network, points, coordinate)


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
