"""Every solver on every process: formulas, orders on Gaussian data, evaluations, refusals."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.grids import evaluations
from dansm.processes.rectified_flow import RectifiedFlow
from dansm.processes.samplers import Sampler

EPSILON = 1e-3
FLOW, DIFFUSION = Pick("rectified_flow"), Pick("diffusion")
START = torch.linspace(-2, 2, 12).reshape(3, 1, 2, 2)
GAUSSIAN = torch.randn(500, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
GAUSSIAN /= GAUSSIAN.std()


def field(x, time):
    """A field of points and of the network's time, both of which it must get right."""
    return torch.sin(x) + 0.3 * x * (time / 999) ** 2


class Toy:
    def __init__(self, field=field):
        self.field, self.times = field, []

    def __call__(self, x, time):
        assert time.shape == (len(x),)
        self.times.append(time[0].item())
        return self.field(x, time.reshape(-1, *[1] * (x.ndim - 1)))


def decay(x, time):
    """dx/dt = −2 t x, so x(1) = x(ε) exp(ε² − 1)."""
    return -2 * (time.double() / 999) * x


def flow(solver, network, steps=None, noise=START):
    return Sampler(FLOW, Pick(solver)).sample(network, noise, steps)


@pytest.mark.parametrize("steps", [1, 3, 4, 10])
def test_euler_is_the_papers_formula(steps):
    network = Toy()
    found, nfe = flow("euler", network, steps)
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
    found, nfe = flow("heun", network, steps)
    x, h = START.double(), (1 - EPSILON) / steps
    for i in range(steps):
        t = EPSILON + i * h
        first = field(x, 999 * t)
        x = x + h / 2 * (first + field(x + h * first, 999 * (t + h)))
    torch.testing.assert_close(found.double(), x, rtol=0, atol=1e-5)
    assert nfe == len(network.times) == 2 * steps


def test_all_times_of_steps_are_what_the_published_formula_rounds_to():
    """The grid holds fractions; the numbers that a network sees are those of floating point."""
    for steps in (*range(1, 50), 100, 999, 1000):
        times = [(1 - EPSILON) * i / steps + EPSILON for i in range(steps + 1)]
        network = Toy(lambda x, time: 0 * x)
        flow("heun", network, steps, START[:1])
        pairs = [t for pair in itertools.pairwise(times) for t in pair]
        assert network.times == [float(np.float32(999 * t)) for t in pairs]


def test_given_times_replace_a_grid():
    times = [0.0, 0.1, 0.15, 0.6, 1.0]
    for solver in ("euler", "heun"):
        network = Toy()
        sampler = Sampler(FLOW, Pick(solver, {"times": times}))
        found, nfe = sampler.sample(network, START)
        x, stages = START.double(), 2 if solver == "heun" else 1
        for a, b in itertools.pairwise(times):
            s, e = (999 * (EPSILON + (1 - EPSILON) * t) for t in (a, b))
            first = field(x, s)
            if solver == "euler":
                x = x + (b - a) * first
            else:
                h = (1 - EPSILON) * (b - a)
                x = x + h / 2 * (first + field(x + h * first, e))
        torch.testing.assert_close(found.double(), x, rtol=0, atol=1e-5)
        assert nfe == len(network.times) == 4 * stages
    network = Toy()
    sampler = Sampler(DIFFUSION, Pick("euler", {"times": times}))
    assert sampler.sample(network, START).nfe == 4
    assert network.times == [999, 899, 849, 399]


def test_rk45_is_close_to_the_exact_solution_and_counts_its_calls():
    network = Toy(decay)
    found, nfe = flow("rk45", network, noise=START.double())
    exact = START.double() * math.exp(EPSILON**2 - 1)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-4)
    assert 6 < nfe <= len(network.times)
    assert all(999 * EPSILON * 0.999 <= t <= 999.1 for t in network.times)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_the_velocity_to_a_single_data_point_leads_there(steps):
    """With one data point x₀ the velocity is (x₀ − x) / (1 − t): straight, so one step will do."""
    target = torch.tensor([0.5, -0.25])
    network = Toy(lambda x, time: (target - x) / (1 - time / 999))
    found = flow("euler", network, steps, torch.tensor([[3.0, 1.0], [-2.0, 0.0]])).samples
    torch.testing.assert_close(found, target.expand(2, 2), rtol=0, atol=5 * EPSILON)


# Exact networks of Gaussian data N(0, s² I), whose samples' standard deviation is known.
S = 0.5
BETAS = 1e-4 + (0.02 - 1e-4) * np.arange(1000) / 999
ALPHAS_BAR = np.cumprod(1 - BETAS)
SIGMAS = np.sqrt((1 - ALPHAS_BAR) / ALPHAS_BAR)


def column(condition, x):
    return condition.to(x).reshape(-1, *[1] * (x.ndim - 1))


def exact_velocity(x, condition):
    """E[data − noise | x_t = x] of rectified flow."""
    t = column(condition, x) / 999
    return (t * S**2 - (1 - t)) * x / (t**2 * S**2 + (1 - t) ** 2)


def exact_noise(x, condition):
    """E[noise | x_t = x] of diffusion, for t between discrete times, too."""
    t = np.asarray(condition.double())
    sigma = column(torch.from_numpy(np.exp(np.interp(t, np.arange(1000), np.log(SIGMAS)))), x)
    return sigma * (1 + sigma**2) ** 0.5 * x / (S**2 + sigma**2)


def diffused(first=999):
    """Standard deviation of the exact samples whose noise stands for x at a discrete time."""
    return S * math.sqrt((1 + SIGMAS[first] ** 2) / (S**2 + SIGMAS[first] ** 2))


def denoised(sigma):
    """Standard deviation after one step of first order from σ to clean data, of the exact one."""
    return S / math.sqrt(S**2 + sigma**2)


def test_euler_from_time_0_has_the_standard_deviations_computed_by_hand():
    sampler = Sampler(RectifiedFlow(epsilon=0), Pick("euler"))
    errors = [
        float(sampler.sample(exact_velocity, GAUSSIAN, n).samples.std()) / S - 1
        for n in (1, 2, 4, 8, 16)
    ]
    assert errors == pytest.approx([-1, -0.6, -0.3189, -0.1704, -0.0886], abs=5e-5)


def flow_error(solver, steps):
    sampler = Sampler(RectifiedFlow(epsilon=0), Pick(solver))
    return float(sampler.sample(exact_velocity, GAUSSIAN, steps).samples.std()) / S - 1


def diffusion_error(solver, steps):
    """Steps even in t from 999 to 0; the last one, to clean data, is of first order alone."""
    indices = [round(999 * (1 - i / steps)) for i in range(steps + 1)]
    times = [*(1 - (index + 1) / 1000 for index in indices), 1.0]
    sampler = Sampler(DIFFUSION, Pick(solver, {"times": times}))
    exact = diffused() * denoised(SIGMAS[0])
    return float(sampler.sample(exact_noise, GAUSSIAN).samples.std()) / exact - 1


@pytest.mark.parametrize("error", [flow_error, diffusion_error])
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_halving_the_steps_of_gaussian_data_shows_the_order(error, solver, order):
    errors = [abs(error(solver, steps)) for steps in (37, 74, 148)]
    np.testing.assert_allclose(-np.diff(np.log2(errors)), order, atol=0.11)


def test_rk45_solves_gaussian_data_within_its_tolerance():
    for tolerance in (1e-5, 1e-7):
        sampler = Sampler(DIFFUSION, Pick("rk45", {"tolerance": tolerance}))
        found, nfe = sampler.sample(exact_noise, GAUSSIAN)
        exact = diffused() * denoised(SIGMAS[0])
        assert float(found.std()) == pytest.approx(exact, rel=20 * tolerance)
        assert nfe > 20


@pytest.mark.parametrize("process", [FLOW, DIFFUSION], ids=str)
@pytest.mark.parametrize("solver", ["euler", "heun", "rk45"])
def test_sampling_keeps_shape_and_dtype_and_the_noise_itself(process, solver):
    noise = START.clone()
    found = Sampler(process, Pick(solver)).sample(Toy(), noise, 0 if solver == "rk45" else 2)
    assert (found.samples.shape, found.samples.dtype) == (START.shape, START.dtype)
    assert torch.equal(noise, START)


@pytest.mark.parametrize("process", [FLOW, DIFFUSION], ids=str)
@pytest.mark.parametrize("solver", ["euler", "heun", "rk45"])
def test_a_sample_does_not_depend_on_its_batch(process, solver):
    sampler, steps = Sampler(process, Pick(solver)), 0 if solver == "rk45" else 4
    noise = START * torch.tensor([0.01, 1, 100]).reshape(3, 1, 1, 1)  # not alike for any solver
    whole, nfe = sampler.sample(Toy(), noise, steps)
    alone = [sampler.sample(Toy(), noise[i : i + 1], steps) for i in range(3)]
    torch.testing.assert_close(torch.cat([one.samples for one in alone]), whole)
    evaluations = [one.nfe for one in alone]
    assert nfe == pytest.approx(np.mean(evaluations))
    assert (len(set(evaluations)) > 1) == (solver == "rk45")


@pytest.mark.parametrize(
    ("process", "solver", "steps"),
    [
        (FLOW, Pick("euler"), 7),
        (FLOW, Pick("heun"), 7),
        (FLOW, Pick("rk45"), None),
        (FLOW, Pick("heun", {"times": [0, 0.5, 1]}), None),
        (DIFFUSION, Pick("euler"), 7),
        (DIFFUSION, Pick("heun"), 7),
        (DIFFUSION, Pick("euler", {"grid": "original"}), 3),
        (DIFFUSION, Pick("heun", {"grid": "original"}), 3),
        (DIFFUSION, Pick("heun", {"times": [0, 0.5, 1]}), 0),
    ],
    ids=str,
)
def test_evaluations_are_known_before_sampling(process, solver, steps):
    sampler = Sampler(process, solver)
    expected = evaluations(process, solver, steps)
    assert sampler.sample(Toy(), START, steps).nfe == expected or expected is None
    assert (expected is None) == (solver.name == "rk45")


@pytest.mark.parametrize(
    ("process", "solver", "steps", "message"),
    [
        (FLOW, Pick("euler"), 0, "euler: steps: expected at least 1, found 0"),
        (FLOW, Pick("euler"), -1, "expected at least 1, found -1"),
        (FLOW, Pick("heun"), None, "expected at least 1, found None"),
        (DIFFUSION, Pick("euler"), 1001, "steps: expected 1 to 1000, found 1001"),
        (DIFFUSION, Pick("euler", {"grid": "original"}), 0, "expected 1 to 1000, found 0"),
        (FLOW, Pick("rk45"), 4, "rk45: expected no steps, as it chooses its own, found 4"),
        (FLOW, Pick("euler", {"times": [0, 1]}), 4, "no steps, as times are given, found 4"),
        (
            FLOW,
            Pick("euler", {"grid": "trailing"}),
            4,
            r"trailing\): expected a grid of rectified_flow, one of \['uniform', 'rho'",
        ),
        (DIFFUSION, Pick("euler", {"grid": "uniform"}), 4, r"one of \['trailing', 'original'\]"),
        (FLOW, Pick("euler", {"grid": "round"}), 4, "unknown grid 'round'; expected one of"),
        (FLOW, Pick("leapfrog"), 4, r"unknown solver 'leapfrog'; expected one of \['adams"),
        (Pick("flow"), Pick("euler"), 4, r"unknown process 'flow'; expected one of \['diffusion'"),
        (FLOW, Pick("rk45", {"grid": "uniform"}), 4, "rk45.*unexpected keyword argument 'grid'"),
        (FLOW, Pick("euler", {"times": [0, 2]}), None, "expected rising numbers from 0 to 1"),
        (DIFFUSION, Pick("euler", {"times": [0, 0.0001, 1]}), None, "different ones of 1000"),
    ],
)
def test_what_does_not_go_together_is_refused(process, solver, steps, message):
    with pytest.raises(InputError, match=message):
        evaluations(process, solver, steps)
    with pytest.raises(InputError, match=message):
        Sampler(process, solver).sample(Toy(), START, steps)


def test_a_grid_of_fractions_is_exact():
    """The spacing of 48 steps meets halves, which fractions round as whole numbers do."""
    network = Toy()
    Sampler(DIFFUSION, Pick("euler")).sample(network, START, 48)
    assert network.times == [round(1000 * k / 48) - 1 for k in range(48, 0, -1)]
    assert any(Fraction(1000 * k, 48).denominator == 2 for k in range(48))
