"""Stochastic interpolants: moments, the least-squares velocity of Gaussian data, samples."""

import math

import pytest
import torch

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.grids import evaluations
from dansm.processes.interpolant import Interpolant
from dansm.processes.objective import make_objective, make_process
from dansm.processes.samplers import Sampler

S = 0.5
COUNT = 200_000
PICK = Pick("interpolant")


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def variance(t, gamma):
    """Of x_t, for data N(0, s²) and independent noise."""
    return t**2 * S**2 + (1 - t) ** 2 + gamma**2 * t * (1 - t)


def slope(t, gamma):
    """E[x − z + γ' w | x_t] over x_t: half the derivative of the variance over it."""
    return (t * S**2 - (1 - t) + gamma**2 * (1 - 2 * t) / 2) / variance(t, gamma)


@pytest.mark.parametrize("gamma", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_points_and_least_squares_velocity_of_gaussian_data(t, gamma):
    x, z = torch.randn(2, COUNT, 1, dtype=torch.float64, generator=stream())
    times = torch.full((COUNT,), t, dtype=torch.float64)
    point = Interpolant(gamma).draw_point(S * x, z, times, stream(1))
    assert float(point.input.square().mean()) == pytest.approx(variance(t, gamma), rel=0.02)
    fitted = (point.input * point.target).mean() / point.input.square().mean()
    assert float(fitted) == pytest.approx(slope(t, gamma), abs=0.03)
    assert point.condition[0] == pytest.approx(999 * t)


def test_the_exact_velocity_makes_gaussian_samples():
    def exact(points, condition):
        t = (condition.to(points) / 999).reshape(-1, 1)
        return slope(t, 1.0) * points

    z = torch.randn(50, 1, dtype=torch.float64, generator=stream())
    found = Sampler(PICK, Pick("heun")).sample(exact, z, 200).samples
    torch.testing.assert_close(found, S * z, rtol=5e-3, atol=0)


def test_without_noise_between_it_is_rectified_flow():
    x, z = torch.randn(2, 50, 1, 2, 2, generator=stream())
    losses = [
        make_objective(process, Pick("uniform"), Pick("squared_error")).loss(
            lambda points, condition: 0.5 * points, x, z, stream(2)
        )
        for process in (Pick("interpolant", {"gamma": 0.0}), Pick("rectified_flow"))
    ]
    torch.testing.assert_close(*losses)


def test_targets_are_bounded_at_both_ends():
    x = torch.zeros(3, 1)
    point = Interpolant().draw_point(x, x, torch.tensor([1e-3, 0.5, 1.0]), stream())
    assert point.target.abs().max() < 100
    assert point.target[1] == 0  # γ' is 0 in the middle


@pytest.mark.parametrize("solver", ["dpmpp_2m", "line"])
def test_solvers_that_need_data_and_noise_alone_are_refused(solver):
    expected = f"{solver}: expected a process whose points are α data . σ noise, found interpolant"
    with pytest.raises(InputError, match=expected):
        evaluations(PICK, Pick(solver), 4)
    with pytest.raises(InputError, match=expected):
        Sampler(PICK, Pick(solver))
    with pytest.raises(InputError, match=r"at least 0, found -1\.0"):
        make_process(Pick("interpolant", {"gamma": -1.0}))
