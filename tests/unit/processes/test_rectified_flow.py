import math

import pytest
import torch
from scipy.stats import kstest

from dansm.processes import PROCESSES, RectifiedFlow

EPSILON = 1e-3
FLOW = RectifiedFlow()
START = torch.linspace(-2, 2, 12).reshape(3, 1, 2, 2)


def field(x, time):
    """A field of points and of the network's time, both of which it must get right."""
    return torch.sin(x) + 0.3 * x * (time / 999) ** 2


class Toy:
    def __init__(self, field=field):
        self.field, self.times = field, []

    def __call__(self, x, time):
        assert time.shape == (len(x),)
        self.times.append(time[0].item())
        assert (time == time[0]).all()
        return self.field(x, time.reshape(-1, *[1] * (x.ndim - 1)))


def decay(x, time):
    """dx/dt = −2 t x, so x(1) = x(ε) exp(ε² − 1)."""
    return -2 * (time.double() / 999) * x


@pytest.mark.parametrize("shape", [(8, 3), (8, 2, 4, 4)])
def test_loss_is_the_mean_squared_error_of_the_velocity(shape):
    x, z = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    seen = {}

    def network(points, times):
        seen["points"], seen["times"] = points, times
        return points * 0.5 + times.reshape(-1, *[1] * (len(shape) - 1)) / 999

    loss = FLOW.loss(network, x, z, torch.Generator().manual_seed(4))
    u = torch.rand(shape[0], generator=torch.Generator().manual_seed(4))
    total = 0.0
    for i in range(shape[0]):
        t = EPSILON + (1 - EPSILON) * float(u[i])
        assert float(seen["times"][i]) == pytest.approx(999 * t, rel=1e-6)
        point = t * x[i].double() + (1 - t) * z[i].double()
        torch.testing.assert_close(seen["points"][i].double(), point, rtol=0, atol=1e-6)
        total += float(((point * 0.5 + t) - (x[i] - z[i]).double()).square().sum())
    assert float(loss) == pytest.approx(total / x.numel(), rel=1e-5)


def test_squared_errors_are_those_of_each_pair_at_its_own_time():
    x, z = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.001, 0.25, 1.0])
    errors = FLOW.squared_errors(lambda p, t: p + t.reshape(-1, 1, 1, 1) / 999, x, z, times)
    assert errors.shape == x.shape
    for i, t in enumerate(times.tolist()):
        predicted = t * x[i] + (1 - t) * z[i] + t
        torch.testing.assert_close(errors[i], (predicted - (x[i] - z[i])) ** 2)


def test_loss_of_the_true_velocity_is_zero_and_has_a_gradient_otherwise():
    x, z = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor(1.0, requires_grad=True)
    stream = torch.Generator().manual_seed(0)
    loss = FLOW.loss(lambda points, times: weight * (x - z), x, z, stream)
    assert loss == 0
    loss = FLOW.loss(lambda points, times: 2 * weight * (x - z), x, z, stream)
    loss.backward()
    # d/dw mean (2w − 1)² d² = 4 mean d²
    assert float(weight.grad) == pytest.approx(4 * float((x - z).square().mean()), rel=1e-5)


def test_times_are_uniform_above_epsilon():
    times = []
    x = torch.zeros(4000, 1)
    FLOW.loss(lambda p, t: times.append(t) or p, x, x, torch.Generator().manual_seed(1))
    t = times[0].double() / 999
    assert t.min() >= EPSILON - 1e-9 and t.max() <= 1
    assert kstest(t.numpy(), "uniform", (EPSILON, 1 - EPSILON)).pvalue > 0.01


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_euler_is_the_papers_formula(steps):
    network = Toy()
    found, nfe = FLOW.sample(network, START, "euler", steps)
    x, times = START.double(), []
    for i in range(steps):
        t = (i / steps) * (1 - EPSILON) + EPSILON
        times.append(999 * t)
        x = x + field(x, 999 * t) / steps
    torch.testing.assert_close(found.double(), x, rtol=0, atol=1e-5)
    assert network.times == pytest.approx(times, rel=1e-6)
    assert nfe == len(network.times) == steps


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_heun_averages_both_ends_of_each_step(steps):
    network = Toy()
    found, nfe = FLOW.sample(network, START, "heun", steps)
    x, h = START.double(), (1 - EPSILON) / steps
    for i in range(steps):
        t = EPSILON + i * h
        first = field(x, 999 * t)
        x = x + h / 2 * (first + field(x + h * first, 999 * (t + h)))
    torch.testing.assert_close(found.double(), x, rtol=0, atol=1e-5)
    assert nfe == len(network.times) == 2 * steps


def test_rk45_is_close_to_the_exact_solution_and_counts_its_calls():
    network = Toy(decay)
    found, nfe = FLOW.sample(network, START.double(), "rk45", 1)
    exact = START.double() * math.exp(EPSILON**2 - 1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)
    assert nfe == len(network.times) > 6
    assert all(999 * EPSILON * 0.999 <= t <= 999.1 for t in network.times)


def test_many_steps_reach_the_exact_solution():
    exact = START.double() * math.exp(EPSILON**2 - 1)
    found = FLOW.sample(Toy(decay), START.double(), "heun", 300).samples
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_the_velocity_to_a_single_data_point_leads_there(steps):
    """With one data point x₀ the velocity is (x₀ − x) / (1 − t): straight, so one step will do."""
    target = torch.tensor([0.5, -0.25])
    network = Toy(lambda x, time: (target - x) / (1 - time / 999))
    found = FLOW.sample(network, torch.tensor([[3.0, 1.0], [-2.0, 0.0]]), "euler", steps).samples
    torch.testing.assert_close(found, target.expand(2, 2), rtol=0, atol=5 * EPSILON)


@pytest.mark.parametrize("sampler", ["euler", "heun", "rk45"])
def test_sampling_keeps_shape_and_dtype_and_the_noise_itself(sampler):
    noise = START.clone()
    found = FLOW.sample(Toy(), noise, sampler, 2).samples
    assert (found.shape, found.dtype) == (START.shape, START.dtype)
    assert torch.equal(noise, START)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_sample_does_not_depend_on_its_batch(sampler):
    whole = FLOW.sample(Toy(), START, sampler, 4).samples
    for i in range(len(START)):
        torch.testing.assert_close(
            FLOW.sample(Toy(), START[i : i + 1], sampler, 4).samples, whole[i : i + 1]
        )


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match=r"'ddim_original'; expected one of \['euler', 'heun'"):
        FLOW.sample(Toy(), START, "ddim_original", 4)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_are_refused(steps):
    with pytest.raises(ValueError, match="steps"):
        FLOW.sample(Toy(), START, "heun", steps)


def test_processes_are_registered_by_name():
    assert isinstance(PROCESSES["rectified_flow"], RectifiedFlow)
    assert PROCESSES["rectified_flow"].epsilon == EPSILON
