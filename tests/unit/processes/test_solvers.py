"""Solvers on fields with known solutions, and on the noise levels of EDM."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from dansm.processes.base import beside
from dansm.processes.solvers import euler, heun, rk45

X0 = torch.tensor([[1.0, -0.5], [0.25, 2.0]], dtype=torch.float64)


class Plain:
    """A process whose coordinates are the points, at variables of one's own."""

    def __init__(self, variables=(0.0, 1.0), last=Fraction(1)):
        self.variables, self.last = variables, last

    def coordinate(self, time):
        return self.variables[round(time * (len(self.variables) - 1))]

    def start(self, noise, time):
        return noise

    def finish(self, points):
        return points

    def velocity(self, network, points, coordinate):
        return network(points, coordinate)

    def euler(self, network, points, time, following):
        start, end = self.coordinate(time), self.coordinate(following)
        return points + (end - start) * self.velocity(network, points, start)


def solve(solver, field, points, variables, last=Fraction(1), **options):
    times = [Fraction(i, len(variables) - 1) for i in range(len(variables))]
    return solver(Plain(variables, last), field, points, times, **options)


def oscillator(x, t):
    """dx/dt = x cos t, so x(t) = x(0) exp(sin t)."""
    return x * beside(np.cos(t), x)


EXACT = X0 * math.exp(math.sin(1.0))


@pytest.mark.parametrize(("solver", "order"), [(euler, 1), (heun, 2)])
def test_order_of_convergence(solver, order):
    grids = (np.linspace(0, 1, n + 1).tolist() for n in (20, 40, 80, 160))
    errors = [float((solve(solver, oscillator, X0, grid) - EXACT).abs().max()) for grid in grids]
    np.testing.assert_allclose(np.diff(np.log2(errors)), -order, atol=0.1)


def test_solvers_follow_an_uneven_grid():
    grid = [0.0, 0.1, 0.15, 0.6, 1.0]
    x = y = X0
    for a, b in itertools.pairwise(grid):
        x = x + (b - a) * oscillator(x, a)
        first = oscillator(y, a)
        y = y + (b - a) * 0.5 * (first + oscillator(y + (b - a) * first, b))
    torch.testing.assert_close(solve(euler, oscillator, X0, grid), x)
    torch.testing.assert_close(solve(heun, oscillator, X0, grid), y)


def test_solvers_can_run_backwards():
    back = solve(heun, oscillator, EXACT, np.linspace(1, 0, 200).tolist())
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-4)
    back = solve(rk45, oscillator, EXACT, [1.0, 0.0], tolerance=1e-6)
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-4)


def test_errors_on_edms_noise_levels_are_those_computed_by_hand():
    """Gaussian data of s = 0.5, dx/dσ = σ x/(s² + σ²), 18 to 72 steps from 80 to 0, ρ = 7."""
    expected = {
        euler: {18: -0.1539, 36: -0.0780, 72: -0.0392},
        heun: {18: 0.0553, 36: 0.0122, 72: 0.00287},
    }
    for solver, errors in expected.items():
        for n, error in errors.items():
            ends = 80 ** (1 / 7), 0.002 ** (1 / 7)
            sigmas = [(ends[0] + i / (n - 1) * (ends[1] - ends[0])) ** 7 for i in range(n)]
            last = Fraction(n - 1, n)  # at σ = 0 EDM does not evaluate the network
            found = solve(solver, lambda x, s: s * x / (0.25 + s**2), X0, [*sigmas, 0.0], last=last)
            exact = X0 * 0.5 / math.sqrt(0.25 + 80**2)
            np.testing.assert_allclose(found / exact - 1, error, atol=6e-5)


def test_rk45_keeps_its_tolerance():
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-8):
        found = solve(rk45, oscillator, X0, (0.0, 1.0), tolerance=tolerance)
        errors.append(float((found - EXACT).abs().max()))
        assert errors[-1] < 10 * tolerance
    assert errors == sorted(errors, reverse=True)


def test_rk45_keeps_shape_and_dtype_and_gives_the_field_the_points_dtype():
    points = X0.float().reshape(1, 2, 2)

    def field(x, t):
        assert (x.shape, x.dtype) == (points.shape, torch.float32)
        return oscillator(x, t)

    found = solve(rk45, field, points, (0.0, 1.0))
    assert (found.shape, found.dtype) == (points.shape, torch.float32)
    torch.testing.assert_close(found, EXACT.float().reshape(1, 2, 2), rtol=0, atol=1e-4)


def test_rk45_reports_a_failure():
    with pytest.raises(RuntimeError, match="RK45 failed"):
        solve(rk45, lambda x, t: x**2, torch.ones(1, 1, dtype=torch.float64), (0.0, 2.0))


def test_rk45_ends_when_the_field_is_not_finite():
    calls = []

    def field(x, t):
        calls.append(t)
        if len(calls) > 1000:
            pytest.fail("still running after 1000 calls")
        return x * torch.nan

    with pytest.raises(RuntimeError, match="RK45"):
        solve(rk45, field, X0, (0.0, 1.0))


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (1.0, 0.0), (0.0, 30.0)])
def test_rk45_takes_the_steps_of_scipy(start, end):
    """Of each sample alone: as many evaluations, and the same values."""
    points = torch.tensor([[1.0, -0.5], [1e-6, 0.0], [30.0, 4.0]], dtype=torch.float64)

    def field(x, t):
        seen.append(len(x))
        return torch.sin(x) - 2 * x + beside(np.cos(5 * t), x)

    for tolerance in (1e-3, 1e-6):
        seen = []
        found = solve(rk45, field, points, (start, end), tolerance=tolerance)
        evaluations = 0
        for point, own in zip(points, found, strict=True):
            expected = solve_ivp(
                lambda t, y: np.sin(y) - 2 * y + np.cos(5 * t),
                (start, end),
                point.numpy(),
                rtol=tolerance,
                atol=tolerance,
            )
            evaluations += expected.nfev
            np.testing.assert_allclose(own, expected.y[:, -1], rtol=1e-9, atol=1e-9)
        assert sum(seen) == evaluations
