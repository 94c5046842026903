"""EDM and PFGM++: preconditioning, levels, Gaussian data, and the same network as a flow."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest, norm

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.edm import EDM, edm_of_flow, flow_of_edm
from dansm.processes.grids import evaluations, noise_level, rho
from dansm.processes.objective import make_objective
from dansm.processes.rectified_flow import RectifiedFlow
from dansm.processes.samplers import Sampler
from dansm.processes.times import make_times

S = 0.5
EPSILON = 1 / 81  # the time of a flow where σ = 80
PICK, LOG_NORMAL, SQUARED = Pick("edm"), Pick("log_normal"), Pick("squared_error")
X, Z = torch.randn(2, 6, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def column(values, points):
    return values.to(points).reshape(-1, *[1] * (points.ndim - 1))


def nothing(inputs, condition):
    """The exact network for Gaussian data of deviation sigma_data."""
    return torch.zeros_like(inputs)


def field(inputs, condition):
    """A network that depends on all it is shown."""
    return 0.4 * torch.sin(2 * inputs) + 0.1 * column(condition, inputs) / 250


def denoised(process, network, y, sigma):
    """D of the paper's table 1."""
    d = process.sigma_data
    skip = d**2 / (sigma**2 + d**2)
    out, inside = sigma * d / (sigma**2 + d**2) ** 0.5, 1 / (sigma**2 + d**2) ** 0.5
    condition = torch.full((len(y),), 1000 * math.log(sigma) / 4)
    return skip * y + out * network(inside * y, condition)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 80.0])
def test_error_of_the_network_is_the_published_weighted_error_of_the_denoiser(sigma):
    process = EDM(sigma_data=0.7)
    point = process.point(X, Z, torch.full((6,), sigma, dtype=torch.float64))
    found = (field(point.input, point.condition) - point.target).square()
    error = denoised(process, field, X + sigma * Z, sigma) - X
    weight = (sigma**2 + 0.7**2) / (sigma * 0.7) ** 2
    torch.testing.assert_close(found, weight * error**2, rtol=1e-4, atol=1e-7)
    assert point.weight is None
    assert point.condition.tolist() == pytest.approx([250 * math.log(sigma)] * 6)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 80.0])
def test_inputs_and_targets_have_unit_variance_and_the_loss_of_nothing_is_one(sigma):
    process = EDM(sigma_data=0.3)
    x, z = torch.randn(2, 200_000, 1, generator=stream())
    point = process.point(0.3 * x, z, torch.full((200_000,), sigma))
    assert float(point.input.std()) == pytest.approx(1, abs=0.01)
    assert float(point.target.square().mean()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("sigma", [0.002, 0.3, 80.0])
def test_velocity_is_the_slope_to_the_denoised_points(sigma):
    process = EDM(sigma_data=0.7)
    slope = process.velocity(lambda y, c: field(y, torch.tensor([c])), X, sigma)
    expected = (X - denoised(process, field, X, sigma)) / sigma
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)


def test_log_normal_times_are_edms_levels_and_logit_normal_times_of_a_flow():
    levels = EDM().draw_times(make_times(LOG_NORMAL), torch.zeros(4000, 1), stream())
    assert kstest(levels.double().log().numpy(), norm(-1.2, 1.2).cdf).pvalue > 0.01
    assert levels.dtype == torch.float32
    chosen = make_times(Pick("log_normal", {"mean": 0.5, "deviation": 2.0}))
    times = RectifiedFlow(epsilon=0).draw_times(chosen, X.new_zeros(4000, 1), stream())
    assert kstest(torch.logit(times).numpy(), norm(-0.5, 2.0).cdf).pvalue > 0.01


def test_levels_of_uniform_times_end_at_80():
    levels = EDM().draw_times(make_times(Pick("uniform")), torch.zeros(4000, 1), stream())
    t = torch.rand(4000, generator=stream())
    torch.testing.assert_close(levels, (1 / t - 1).clamp(max=80), rtol=1e-4, atol=1e-6)


def test_loss_draws_levels_and_points():
    objective = make_objective(PICK, LOG_NORMAL, SQUARED)
    levels = objective.process.draw_times(objective.times, X, stream(3))
    point = objective.process.point(X, Z, levels)
    expected = (point.input * 0.5 - point.target).square().mean()
    loss = objective.loss(lambda points, condition: points * 0.5, X, Z, stream(3))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("solver", "errors"),
    [
        ("euler", {18: -0.1539, 36: -0.0780, 72: -0.0392}),
        ("heun", {18: 0.0553, 36: 0.0122, 72: 0.00287}),
    ],
)
def test_errors_on_gaussian_data_are_those_computed_by_hand(solver, errors):
    """With F = 0 the denoiser is exact, and a sample is x₀ s/√(s² + 80²)."""
    exact = Z * 80 * S / math.hypot(S, 80)
    for steps, error in errors.items():
        found, nfe = Sampler(EDM(), Pick(solver)).sample(nothing, Z, steps)
        np.testing.assert_allclose(found / exact - 1, error, atol=6e-5)
        assert nfe == evaluations(PICK, Pick(solver), steps)
        assert nfe == (2 * steps - 1 if solver == "heun" else steps)


def test_orders_are_one_two_and_two():
    exact = Z * 80 * S / math.hypot(S, 80)
    for solver, order in (("euler", 1), ("heun", 2), ("dpmpp_2m", 2)):
        errors = [
            float((Sampler(EDM(), Pick(solver)).sample(nothing, Z, n).samples / exact - 1).max())
            for n in (64, 128, 256)
        ]
        np.testing.assert_allclose(-np.diff(np.log2(np.abs(errors))), order, atol=0.25)


@pytest.mark.parametrize(
    "solver",
    [
        Pick("euler"),
        Pick("heun"),
        Pick("adams_bashforth", {"order": 3}),
        Pick("heavy_ball", {"order": 4}),
        Pick("dpmpp_2m"),
        Pick("line"),
        Pick("heun", {"grid": "uniform"}),
        Pick("heun", {"times": [0, 0.3, 1]}),
        Pick("heun", {"knot": 0.5, "parts": [1, 3]}),
    ],
    ids=str,
)
def test_every_solver_samples_and_counts(solver):
    steps = None if {"times", "knot"} & solver.options.keys() else 5
    found, nfe = Sampler(PICK, solver).sample(field, Z, steps)
    assert torch.isfinite(found).all()
    assert nfe == evaluations(PICK, solver, steps)


def test_rk45_ends_at_the_last_level_and_takes_one_step_from_there():
    found, _ = Sampler(EDM(), Pick("rk45", {"tolerance": 1e-7})).sample(nothing, Z)
    last = 0.002
    exact = Z * 80 * math.hypot(S, last) / math.hypot(S, 80) * S**2 / (S**2 + last**2)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-6)


def test_the_line_is_the_samples_and_the_first_noise():
    seen = []

    def network(inputs, condition):
        seen.append((inputs, math.exp(float(condition[0]) / 250)))
        return field(inputs, condition)

    Sampler(EDM(), Pick("line")).sample(network, Z, 5)
    for (before, high), (after, low) in itertools.pairwise(seen):
        y = before * math.hypot(high, S)
        data = denoised(EDM(), field, y, high)
        torch.testing.assert_close(after * math.hypot(low, S), data + low * Z, rtol=1e-4, atol=1e-5)


def trajectory(process, solver, network, steps, noise):
    seen = []

    def shown(points, condition):
        seen.append(points)
        return network(points, condition)

    sample = Sampler(process, solver).sample(shown, noise, steps).samples
    return [*seen, sample]


FIRST_ORDER = Pick("heavy_ball", {"order": 1, "beta": 1.0, "grid": "rho"})  # Euler's method in t


@pytest.mark.parametrize("solver", [FIRST_ORDER, Pick("dpmpp_2m", {"grid": "rho"})], ids=str)
@pytest.mark.parametrize("network", [nothing, field])
def test_one_network_has_one_trajectory_as_edm_and_as_flow(solver, network):
    process, steps = EDM(sigma_data=0.6), 18
    levels = [float(noise_level(time)) for time in rho(steps, None)]
    found = trajectory(process, solver, network, steps, Z)
    velocity = flow_of_edm(process, network)
    flow = trajectory(RectifiedFlow(EPSILON), solver, velocity, steps, Z * (1 - EPSILON))
    assert len(found) == len(flow) == steps + 1
    for a, b, level in zip(found, flow, levels, strict=True):
        y = a * math.hypot(level, 0.6) if level else a
        torch.testing.assert_close(y / (1 + level), b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("solver", [FIRST_ORDER, Pick("dpmpp_2m", {"grid": "rho"})], ids=str)
def test_a_flows_network_has_its_trajectory_as_edm(solver):
    def velocity(points, condition):
        return torch.sin(points) + 0.3 * points * (column(condition, points) / 999) ** 2

    process = EDM(sigma_data=0.6)
    flow = Sampler(RectifiedFlow(EPSILON), solver).sample(velocity, Z * (1 - EPSILON), 18).samples
    found = Sampler(process, solver).sample(edm_of_flow(process, velocity), Z, 18).samples
    torch.testing.assert_close(found, flow, rtol=0, atol=1e-5)


def test_both_reparametrisations_undo_each_other():
    process = EDM(sigma_data=0.6)
    there = edm_of_flow(process, flow_of_edm(process, field))
    condition = torch.linspace(-1500, 1000, 6, dtype=torch.float64)
    torch.testing.assert_close(there(X, condition), field(X, condition), rtol=0, atol=1e-8)


def test_radius_of_pfgmpp_has_its_distribution():
    """R/σ of ranks of Gaussian lengths: R² = σ² D B/(1 − B), so E R² = σ² N D/(D − 2)."""
    noise = torch.randn(20_000, 8, dtype=torch.float64, generator=stream())
    for augmented in (1, 16, 128):
        found = EDM(augmented=augmented).noise(noise)
        squares = found.square().sum(1)
        share = (squares / (augmented + squares)).numpy()
        assert kstest(share, beta(4, augmented / 2).cdf).pvalue > 0.01
        unit = found / squares.sqrt()[:, None]
        torch.testing.assert_close(unit, noise / noise.norm(dim=1, keepdim=True))
        if augmented == 128:
            assert float(squares.mean()) == pytest.approx(8 * 128 / 126, rel=0.02)


def test_pfgmpp_of_many_dimensions_is_edm():
    many, edm = EDM(augmented=10**8), EDM()
    levels = torch.full((6,), 0.3, dtype=torch.float64)
    for a, b in zip(many.point(X, Z, levels)[:3], edm.point(X, Z, levels)[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for solver in ("heun", "line"):
        both = [Sampler(p, Pick(solver)).sample(field, Z, 6).samples for p in (many, edm)]
        torch.testing.assert_close(*both, rtol=0, atol=1e-4)
    far = EDM(augmented=2).begin(Z, Fraction(0)).norm() / edm.begin(Z, Fraction(0)).norm()
    assert not math.isclose(far, 1, abs_tol=0.05)


@pytest.mark.parametrize(
    ("process", "times", "message"),
    [
        (Pick("edm", {"sigma_data": 0.0}), LOG_NORMAL, "sigma_data: expected above 0, found 0.0"),
        (Pick("edm", {"augmented": 0}), LOG_NORMAL, "augmented: expected at least 1, found 0"),
        (PICK, Pick("log_normal", {"deviation": 0.0}), "deviation: expected above 0, found 0.0"),
        (PICK, Pick("log_normal", {"mean": math.inf}), "mean: expected a finite number, found inf"),
    ],
)
def test_options_that_cannot_be_are_refused(process, times, message):
    with pytest.raises(InputError, match=message):
        make_objective(process, times, SQUARED)
