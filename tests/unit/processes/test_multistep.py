"""Solvers that remember, and the line sampler: formulas, orders, uneven grids, two-part grids."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.diffusion import Diffusion
from dansm.processes.grids import evaluations, noise_level, rho
from dansm.processes.rectified_flow import RectifiedFlow
from dansm.processes.samplers import Sampler
from dansm.processes.solver_registry import SOLVERS

FLOW, DIFFUSION = Pick("rectified_flow"), Pick("diffusion")
NOISE = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
UNEVEN = [0, 0.05, 0.2, 0.3, 0.55, 0.8, 0.9, 1]
MANY = [
    Pick("adams_bashforth"),
    Pick("adams_bashforth", {"order": 3}),
    Pick("heavy_ball"),
    Pick("heavy_ball", {"order": 4}),
    Pick("dpmpp_2m"),
    Pick("line"),
]


def column(condition, x):
    return condition.to(x).reshape(-1, *[1] * (x.ndim - 1))


def field(x, condition):
    return torch.sin(x) + 0.3 * x * (column(condition, x) / 999) ** 2


def sample(solver, network, steps=None, noise=NOISE, process=None):
    process = process or RectifiedFlow(epsilon=0)
    return Sampler(process, solver).sample(network, noise, steps).samples


@pytest.mark.parametrize(("solver", "order"), [*zip(MANY[:4], (2, 3, 2, 4), strict=True)], ids=str)
@pytest.mark.parametrize("power", [1, 1.5])
def test_orders_by_halving_on_even_and_uneven_grids(solver, order, power):
    """On dx/dt = 5 t⁴ x, whose first steps, of lower orders, hardly move; x(1) = e x(0)."""
    solve = SOLVERS[solver.name].load()
    errors = []
    for steps in (80, 160, 320):
        times = [Fraction((i / steps) ** power) for i in range(steps + 1)]
        found = solve(
            RectifiedFlow(epsilon=0),
            lambda x, condition: 5 * (condition / 999) ** 4 * x,
            NOISE,
            times,
            **solver.options,
        )
        errors.append(float((found - NOISE * math.e).abs().max()))
    np.testing.assert_allclose(-np.diff(np.log2(errors))[-1], order, atol=0.2)


S = 0.5


def exact_velocity(x, condition):
    """E[data − noise | x_t = x] for data N(0, s² I)."""
    t = column(condition, x) / 999
    return (t * S**2 - (1 - t)) * x / (t**2 * S**2 + (1 - t) ** 2)


@pytest.mark.parametrize("solver", [MANY[0], MANY[2], MANY[4]], ids=str)
def test_second_order_on_gaussian_data(solver):
    """Of DPM-Solver++ it is h² log h, since its λ has no beginning and no end."""
    errors = [
        float((sample(solver, exact_velocity, steps) / (S * NOISE) - 1).abs().max())
        for steps in (128, 256, 512)
    ]
    lost = 0.25 if solver.name == "dpmpp_2m" else 0.1
    np.testing.assert_allclose(-np.diff(np.log2(errors)), 2, atol=lost)


# The published mixes of the newest and older means, whose sum is β.
MIXES = {
    1: lambda b: [b],
    2: lambda b: [(2 + b) / 2, -(2 - b) / 2],
    3: lambda b: [(18 + 5 * b) / 12, -(24 - 8 * b) / 12, (6 - b) / 12],
    4: lambda b: [(46 + 9 * b) / 24, -(78 - 19 * b) / 24, (42 - 5 * b) / 24, -(10 - b) / 24],
}


@pytest.mark.parametrize("beta", [0.8, 0.3, 1.0])
@pytest.mark.parametrize("order", MIXES)
def test_heavy_ball_has_the_published_coefficients_on_equal_steps(order, beta):
    steps, x, means = 9, NOISE, []
    for i in range(steps):
        v = field(x, torch.tensor([999.0 * i / steps]))
        means = [(1 - beta) * means[0] + beta * v if means else v, *means][:order]
        mix = MIXES[len(means)](beta)
        x = x + sum(c * m for c, m in zip(mix, means, strict=True)) / beta / steps
    found = sample(Pick("heavy_ball", {"order": order, "beta": beta}), field, steps)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [2, 3])
def test_adams_bashforth_integrates_the_polynomial_through_past_velocities(order):
    x, past = NOISE, []
    for a, b in itertools.pairwise(UNEVEN):
        past = [*past, (a, field(x, torch.tensor([999.0 * a])))][-order:]
        nodes = [t for t, _ in past]
        for node, v in past:
            others = [t for t in nodes if t != node]
            basis = np.atleast_1d(np.poly(others)) / np.prod([node - t for t in others])
            primitive = np.polyint(basis)
            x = x + float(np.polyval(primitive, b) - np.polyval(primitive, a)) * v
    found = sample(Pick("adams_bashforth", {"order": order, "times": UNEVEN}), field)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)


def test_beta_1_is_adams_bashforth():
    for order in (2, 3):
        options = {"order": order, "times": UNEVEN}
        ball = sample(Pick("heavy_ball", {"beta": 1.0, **options}), field)
        assert torch.equal(ball, sample(Pick("adams_bashforth", options), field))


@pytest.mark.parametrize("process", [RectifiedFlow(), Diffusion()], ids=lambda p: p.name)
def test_dpmpp_2m_is_the_published_formula(process):
    """In h = λ_t − λ_s: x = (σ_t/σ_s) x − α_t (exp(−h) − 1) D, for diffusion of points over α."""
    flow = process.name == "rectified_flow"
    x, data, before = process.start(NOISE, Fraction(0)), None, None
    for a, b in itertools.pairwise(map(Fraction, UNEVEN)):
        u, w = process.coordinate(a), process.coordinate(b)
        (alpha, sigma), (alpha_t, sigma_t) = ((c, 1 - c) if flow else (1.0, c) for c in (u, w))
        last, slope = data, process.velocity(lambda y, c: field(y, torch.tensor([c])), x, u)
        data = x + (1 - u) * slope if flow else x - u * slope
        used = data
        if sigma_t == 0:
            x = alpha_t * data
            break
        h = math.log(alpha_t / sigma_t) - math.log(alpha / sigma)
        if last is not None:
            used = (1 + h / (2 * before)) * data - h / (2 * before) * last
        x = sigma_t / sigma * x - alpha_t * math.expm1(-h) * used
        before = h
    found = sample(Pick("dpmpp_2m", {"times": UNEVEN}), field, process=process)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


def test_dpmpp_of_first_order_is_euler():
    """Both of two steps are of first order: the first, and the one to clean data."""
    options = {"times": [0, 0.3, 1]}
    found = sample(Pick("dpmpp_2m", options), field)
    torch.testing.assert_close(found, sample(Pick("euler", options), field))


def test_the_line_goes_back_to_the_first_noise():
    x = NOISE
    for a, b in itertools.pairwise(UNEVEN):
        data = x + (1 - a) * field(x, torch.tensor([999.0 * a]))
        x = b * data + (1 - b) * NOISE
    found = sample(Pick("line", {"times": UNEVEN}), field)
    torch.testing.assert_close(found, x, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        sample(Pick("line"), field, 1), sample(Pick("euler"), field, 1), rtol=0, atol=1e-9
    )


def test_the_line_of_diffusion_shows_the_network_its_training_points():
    process, data, seen = Diffusion(), 0.3 * NOISE, []

    def network(x, condition):
        seen.append((x, int(condition[0])))
        alpha = process.alphas_bar[seen[-1][1]]
        return (x - alpha.sqrt() * data) / (1 - alpha).sqrt()

    found = sample(Pick("line", {"times": UNEVEN}), network, process=process)
    torch.testing.assert_close(found, data, rtol=0, atol=1e-6)
    for x, index in seen[1:]:
        point = process.point(data, NOISE, torch.full((3,), index))
        torch.testing.assert_close(x, point.input, rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", MANY, ids=str)
def test_constant_velocities_are_followed_exactly_and_calls_are_counted(solver):
    for options, steps in (({}, 5), ({"times": UNEVEN}, None), ({"knot": 0.3, "parts": [1, 3]}, 0)):
        chosen = Pick(solver.name, {**solver.options, **options})
        found = Sampler(RectifiedFlow(epsilon=0), chosen).sample(
            lambda x, t: torch.full_like(x, 2.0), NOISE, steps
        )
        torch.testing.assert_close(found.samples, NOISE + 2)
        for process in (FLOW, DIFFUSION):
            nfe = Sampler(process, chosen).sample(field, NOISE, steps).nfe
            assert nfe == evaluations(process, chosen, steps) == {5: 5, None: 7, 0: 4}[steps]


def test_two_parts_are_equal_steps_before_and_after_a_knot():
    seen = []
    solver = Pick("euler", {"knot": 0.5, "parts": [1, 3]})
    sample(solver, lambda x, t: seen.append(float(t[0]) / 999) or x)
    assert seen == pytest.approx([0, 1 / 2, 2 / 3, 5 / 6])
    halves = sample(Pick("euler", {"knot": 0.5, "parts": [4, 4]}), field)
    assert torch.equal(halves, sample(Pick("euler"), field, 8))


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Pick("euler", {"knot": 1, "parts": [1, 1]}), "knot: expected between 0 and 1, found 1"),
        (Pick("heun", {"knot": 0.0, "parts": [1, 1]}), "knot: expected between 0 and 1, found 0.0"),
        (Pick("line", {"knot": -0.5, "parts": [1, 1]}), "expected between 0 and 1, found -0.5"),
        (Pick("euler", {"knot": 0.5, "parts": [1, 0]}), r"from 1 to 10000, found \[1, 0\]"),
        (Pick("euler", {"knot": 0.5, "parts": [1]}), r"two numbers of steps.*found \[1\]"),
        (Pick("euler", {"knot": 0.5}), "knot, parts: expected both of them, found one"),
        (Pick("euler", {"knot": 0.5, "parts": [1, 1], "grid": "uniform"}), "neither grid nor"),
        (Pick("adams_bashforth", {"order": 4}), "order: expected 2 or 3, found 4"),
        (Pick("heavy_ball", {"order": 5}), "order: expected 1 to 4, found 5"),
        (Pick("heavy_ball", {"beta": 0.0}), "beta: expected above 0 and at most 1, found 0.0"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(solver, message):
    with pytest.raises(InputError, match=message):
        evaluations(FLOW, solver)


def test_a_knot_that_a_discrete_process_cannot_tell_from_an_end_is_refused():
    with pytest.raises(InputError, match="different ones of 1000"):
        evaluations(DIFFUSION, Pick("euler", {"knot": 0.9999, "parts": [1, 1]}))


def test_rho_grid_has_edms_noise_levels():
    published = [80, 57.59, 40.79, 28.37, 19.35, 12.91, 8.40, 5.32, 3.26, 1.92, 1.09, 0.585]
    published += [0.296, 0.140, 0.060, 0.023, 0.008, 0.002]
    times = rho(18, None)
    levels = [noise_level(time) for time in times]
    assert (levels[0], levels[-2], levels[-1]) == (80, Fraction(1, 500), 0)
    assert [float(level) for level in levels[:-1]] == pytest.approx(published, rel=5e-3, abs=5e-4)
    assert (times[0], times[-1]) == (0, 1)
    assert rho(1, None) == [0, 1]
    assert [noise_level(time) for time in rho(2, None)] == [80, Fraction(1, 500), 0]
