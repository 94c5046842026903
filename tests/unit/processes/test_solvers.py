import itertools
import math

import numpy as np
import pytest
import torch

from dansm.processes.solvers import euler, heun, rk45

X0 = torch.tensor([[1.0, -0.5], [0.25, 2.0]], dtype=torch.float64)


def oscillator(x, t):
    """dx/dt = x cos t, so x(t) = x(0) exp(sin t)."""
    return x * math.cos(t)


EXACT = X0 * math.exp(math.sin(1.0))


def run_euler(steps):
    grid = np.linspace(0, 1, steps + 1).tolist()
    return euler(oscillator, X0, grid[:-1], [1 / steps] * steps)


def run_heun(steps):
    return heun(oscillator, X0, np.linspace(0, 1, steps + 1).tolist())


@pytest.mark.parametrize(("solver", "order"), [(run_euler, 1), (run_heun, 2)])
def test_order_of_convergence(solver, order):
    errors = [float((solver(n) - EXACT).abs().max()) for n in (20, 40, 80, 160)]
    slopes = np.diff(np.log2(errors))
    np.testing.assert_allclose(slopes, -order, atol=0.1)


def test_solvers_follow_an_uneven_grid():
    grid = [0.0, 0.1, 0.15, 0.6, 1.0]
    x = y = X0
    for a, b in itertools.pairwise(grid):
        x = x + (b - a) * oscillator(x, a)
        first = oscillator(y, a)
        y = y + (b - a) * 0.5 * (first + oscillator(y + (b - a) * first, b))
    torch.testing.assert_close(euler(oscillator, X0, grid[:-1], np.diff(grid).tolist()), x)
    torch.testing.assert_close(heun(oscillator, X0, grid), y)


def test_euler_and_heun_can_run_backwards():
    back = heun(oscillator, EXACT, np.linspace(1, 0, 200).tolist())
    torch.testing.assert_close(back, X0, rtol=0, atol=1e-4)


def test_euler_needs_a_step_size_for_each_time():
    with pytest.raises(ValueError, match="zip"):
        euler(oscillator, X0, [0.0, 0.5], [0.5])


def test_rk45_keeps_its_tolerance():
    errors = []
    for tolerance in (1e-3, 1e-5, 1e-8):
        found = rk45(oscillator, X0, 0.0, 1.0, tolerance)
        errors.append(float((found - EXACT).abs().max()))
        assert errors[-1] < 10 * tolerance
    assert errors == sorted(errors, reverse=True)


def test_rk45_keeps_shape_and_dtype_and_gives_the_field_the_points_dtype():
    points = X0.float().reshape(1, 2, 2)

    def field(x, t):
        assert (x.shape, x.dtype) == (points.shape, torch.float32)
        return oscillator(x, t)

    found = rk45(field, points, 0.0, 1.0)
    assert (found.shape, found.dtype) == (points.shape, torch.float32)
    torch.testing.assert_close(found, EXACT.float().reshape(1, 2, 2), rtol=0, atol=1e-4)


def test_rk45_reports_a_failure():
    with pytest.raises(RuntimeError, match="RK45 failed"):
        rk45(lambda x, t: x**2, torch.ones(1, 1, dtype=torch.float64), 0.0, 2.0)


def test_rk45_ends_when_the_field_is_not_finite():
    calls = []

    def field(x, t):
        calls.append(t)
        if len(calls) > 1000:
            pytest.fail("still running after 1000 calls")
        return x * torch.nan

    with pytest.raises(RuntimeError, match="RK45"):
        rk45(field, X0, 0.0, 1.0)
