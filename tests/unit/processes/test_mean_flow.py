"""MeanFlow: its identity on Gaussian data, its limits, its derivative, its steps."""

import pytest
import torch

from dansm.config import Network
from dansm.couplings.registry import Pick
from dansm.models.networks import make_network
from dansm.processes.mean_flow import MeanFlow, MeanVelocity
from dansm.processes.objective import make_objective
from dansm.processes.rectified_flow import TIME_SCALE
from dansm.processes.samplers import Sampler
from dansm.processes.times import make_times

PICK, LOSS, UNIFORM = Pick("mean_flow"), Pick("mean_velocity"), Pick("uniform")
X, Z = torch.randn(2, 64, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
S = 0.5


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def column(values, points):
    return values.to(points).reshape(-1, *[1] * (points.ndim - 1))


def variance(t):
    return t**2 * S**2 + (1 - t) ** 2


def exact(points, conditions):
    """(x_s − x_t)/(s − t) with x_s = x_t √(V(s)/V(t)), and the velocity where s = t."""
    t, span = (column(c, points) / TIME_SCALE for c in conditions.unbind(dim=1))
    here, there = variance(t), variance(t + span)
    # √(V(s)/V(t)) − 1 over s − t, without a difference of nearly equal numbers.
    slope = (2 * t + span) * S**2 - 2 * (1 - t) + span
    return points * slope / here / (1 + (there / here).sqrt())


def test_the_exact_mean_velocity_satisfies_the_identity():
    """Its error is that of the velocity alone, x − z less its mean, which u does not see."""
    process = MeanFlow()
    t = torch.linspace(0.05, 0.9, 64, dtype=torch.float64)
    s = t + (1 - t) * torch.rand(64, dtype=torch.float64, generator=stream())
    points = X * column(variance(t).sqrt(), X)
    # Along the exact velocity, v(x_t, t), instead of a pair's.
    velocity = (column(t, X) * S**2 - (1 - column(t, X))) * points / column(variance(t), X)

    def mean(points, t):
        return exact(points, TIME_SCALE * torch.stack([t, s - t], dim=1))

    value, slope = torch.func.jvp(mean, (points, t), (velocity, torch.ones_like(t)))
    torch.testing.assert_close(value, velocity + column(s - t, X) * slope, rtol=1e-6, atol=1e-8)
    assert process.path(0.3) == pytest.approx((0.3, 0.7))


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_of_any_size_are_exact(steps):
    found = Sampler(PICK, Pick("euler")).sample(exact, Z, steps)
    assert found.nfe == steps
    # But for the noise's being taken for the point at ε, and steps that add up to 1.
    torch.testing.assert_close(found.samples, S * Z, rtol=0, atol=0.01)


def test_other_solvers_see_the_velocity():
    found = Sampler(PICK, Pick("heun")).sample(exact, Z, 60).samples
    torch.testing.assert_close(found, S * Z, rtol=0.01, atol=1e-4)


def test_with_equal_times_it_is_rectified_flow():
    def network(points, conditions):
        shown = conditions[:, 0] if conditions.ndim == 2 else conditions
        return points * column(shown, points) / 999

    objective = make_objective(PICK, UNIFORM, Pick("mean_velocity", {"equal": 1.0, "power": 0.0}))
    found = objective.loss(network, X, Z, stream(2))
    first, second = (torch.rand(64, generator=stream).double() for stream in [stream(2)] * 2)
    t = 1e-3 + 0.999 * torch.minimum(first, second)
    point = MeanFlow().point(X, Z, t)
    error = network(point.input, point.condition) - point.target
    torch.testing.assert_close(found, error.square().flatten(1).sum(1).mean(), check_dtype=False)


def test_the_loss_is_that_of_finite_differences_and_its_target_is_fixed():
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def network(points, conditions):
        t, span = (column(c, points) / TIME_SCALE for c in conditions.unbind(dim=1))
        return torch.sin(weight * points) * (1 + t) + span**2 * points

    objective = MeanVelocity(MeanFlow(), make_times(UNIFORM), equal=0.0)
    loss = objective.loss(network, X, Z, stream(1))
    (found,) = torch.autograd.grad(loss, weight)
    draws = stream(1)
    times = torch.stack([torch.rand(64, generator=draws) for _ in range(2)]).double()
    t, s = (1e-3 + 0.999 * times).sort(dim=0).values
    point, h = MeanFlow().point(X, Z, t), 1e-6

    def mean(h):
        conditions = TIME_SCALE * torch.stack([t + h, s - t - h], dim=1)
        return network(point.input + h * point.target, conditions)

    slope = ((mean(h) - mean(-h)) / (2 * h)).detach()
    target = point.target + column(s - t, X) * slope
    error = (mean(0.0) - target).square().flatten(1).sum(1)
    expected = (error / (error.detach() + 1e-3) ** 0.75).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    (gradient,) = torch.autograd.grad(expected, weight)
    assert float(found) == pytest.approx(float(gradient), rel=1e-3)


@pytest.mark.parametrize("attention_at", [[], [4]])
def test_a_networks_forward_derivative_is_that_of_finite_differences(attention_at):
    preset = Network(
        channels=[8, 16],
        layers_per_block=1,
        attention_at=attention_at,
        dropout=0,
        norm_groups=4,
        two_times=True,
    )
    network = make_network(preset, (1, 8, 8), seed=0)
    x, z = torch.randn(2, 4, 1, 8, 8, generator=stream())
    objective = make_objective(PICK, UNIFORM, LOSS)
    loss = objective.loss(lambda points, t: network(points, t).sample, x, z, stream())
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    conditions = torch.tensor([[100.0, 300.0]] * 4)

    def predict(h):
        moved = conditions + h * torch.tensor([999.0, -999.0])
        return network(x + h * z, moved).sample

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        _, slope = torch.func.jvp(predict, (torch.tensor(0.0),), (torch.tensor(1.0),))
    with torch.no_grad():
        expected = (predict(1e-4) - predict(-1e-4)) / 2e-4
    assert float((slope - expected).norm() / expected.norm()) < 0.02
    with torch.no_grad():  # the second time counts, and is 0 unless given
        alone = network(x, conditions[:, 0]).sample
        both = network(x, conditions * torch.tensor([1.0, 0.0])).sample
        assert torch.equal(alone, both) and not torch.equal(alone, predict(0.0))
