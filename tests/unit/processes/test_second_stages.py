"""Times and losses of second stages: densities, limits, weights, and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.diffusion import Diffusion
from dansm.processes.edm import EDM
from dansm.processes.features import RandomFeatures
from dansm.processes.finetuning import squared_mmd
from dansm.processes.grids import sampling_times, uniform
from dansm.processes.losses import pseudo_huber, relative_squared_error, squared_error
from dansm.processes.objective import Objective, make_objective, make_process
from dansm.processes.rectified_flow import TIME_SCALE, RectifiedFlow
from dansm.processes.registry import PROCESSES
from dansm.processes.samplers import Sampler
from dansm.processes.solvers import inverse
from dansm.processes.times import make_times

X, Z = torch.randn(2, 8, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
FLOW, UNIFORM, SQUARED = Pick("rectified_flow"), Pick("uniform"), Pick("squared_error")
S = 0.5


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def column(values, points):
    return values.to(points).reshape(-1, *[1] * (points.ndim - 1))


def gaussian(points, condition):
    """The exact velocity of a flow to N(0, S²)."""
    t = column(condition, points) / TIME_SCALE
    return (t * S**2 - (1 - t)) * points / (t**2 * S**2 + (1 - t) ** 2)


# Times.


def test_u_shaped_times_have_the_published_moments():
    t = make_times(Pick("u_shaped")).draw(200_000, stream())
    assert float(t.mean()) == pytest.approx(0.5, abs=3e-3)
    assert float(t.var()) == pytest.approx(0.11567, abs=1e-3)
    outside = ((t < 0.25) | (t > 0.75)).double().mean()
    assert float(outside) == pytest.approx(0.676, abs=5e-3)
    assert t.min() >= 0 and t.max() < 1


def test_exponential_times_are_base_times_as_frequent_at_the_noise():
    t = make_times(Pick("exponential")).draw(20_000, stream()).numpy()
    assert kstest(t, lambda v: (1 - 10.0**-v) / 0.9).pvalue > 0.01


def test_distillation_sees_the_noise_alone():
    times = make_times(Pick("at_noise"))
    assert RectifiedFlow().draw_times(times, X, stream()).unique().tolist() == [1e-3]
    assert Diffusion().draw_times(times, X, stream()).unique().tolist() == [999]


# Losses.


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_pseudo_huber_is_squared_for_small_and_absolute_for_large_errors(scale):
    c, d = 0.00054 * 4, 4
    norms = (scale * Z).flatten(1).norm(dim=1).float()
    found = pseudo_huber(scale * Z, torch.zeros_like(Z))
    expected = norms**2 / (2 * c * d) if scale < 1 else (norms - c) / d
    # In float32, c is all that is left of the root for tiny errors.
    torch.testing.assert_close(found, expected, rtol=0.01, atol=1e-9, check_dtype=False)


def test_elementwise_huber_counts_each_number():
    found = pseudo_huber(X, Z, c=0.3, elementwise=True)
    expected = ((X - Z) ** 2 + 0.09).sqrt() - 0.3
    torch.testing.assert_close(found, expected.float(), check_dtype=False)


def test_gradients_of_the_relative_error_do_not_know_its_scale():
    gradients = []
    for scale in (1.0, 1e-3):
        prediction = (scale * X).requires_grad_()
        errors = relative_squared_error(prediction, scale * Z)
        torch.testing.assert_close(errors, torch.ones(8), check_dtype=False)
        errors.sum().backward()
        gradients.append(scale * prediction.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("process", "scale"),
    [
        (RectifiedFlow(), lambda t: 1 - t),
        (
            Diffusion(),
            lambda t: -((1 / Diffusion().alphas_bar[t] - 1) ** 0.5),
        ),
        (EDM(0.7), lambda sigma: 0.7 * sigma / (sigma**2 + 0.49) ** 0.5),
    ],
    ids=["flow", "diffusion", "edm"],
)
def test_error_of_the_data_is_that_of_the_prediction_times_its_scale(process, scale):
    times = process.draw_times(make_times(UNIFORM), X, stream(3))
    point = process.point(X, Z, times)
    found = Objective(process, make_times(UNIFORM), squared_error, of_data=True).loss(
        lambda points, condition: 0.3 * points, X, Z, stream(3)
    )
    errors = (column(scale(times), X) * (0.3 * point.input - point.target)) ** 2
    torch.testing.assert_close(found, errors.mean(), rtol=1e-4, atol=0, check_dtype=False)
    # A prediction that is wrong by δ means data that are wrong by the scale times δ.
    torch.testing.assert_close(process.data_error(times).double(), scale(times).double())


def test_the_data_that_a_flows_velocity_means_are_wrong_by_that_much():
    t = torch.tensor([0.1, 0.6], dtype=torch.float64)
    point = RectifiedFlow().point(X[:2], Z[:2], t)
    wrong = point.target + 0.2
    data = point.input + (1 - column(t, X)) * wrong
    expected = (0.2 * RectifiedFlow().data_error(t)).reshape(-1, 1, 1, 1).expand_as(data)
    torch.testing.assert_close(data - X[:2], expected)


# What looks at more than one point.


def test_mmd_of_equal_laws_is_zero_on_average_and_that_of_gaussians_is_known():
    """Of N(0, 1) and N(0, s²) in one dimension it is 3 (1 − s²)²."""
    found = {0: [], 1: []}
    for seed in range(400):
        one, other = torch.randn(2, 64, 1, dtype=torch.float64, generator=stream(seed))
        found[0].append(float(squared_mmd(one, other)))
        found[1].append(float(squared_mmd(one, 0.5 * other)))
    for expected, values in ((0, found[0]), (3 * 0.75**2, found[1])):
        error = np.std(values) / 20
        assert abs(np.mean(values) - expected) < 3.5 * error


def test_finetuning_differentiates_through_all_steps():
    factor = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    torch.manual_seed(0)
    objective = make_objective(FLOW, UNIFORM, Pick("mmd", {"steps": 3}), channels=1)
    x, z = torch.randn(2, 16, 1, 8, 8, generator=stream())

    def loss(value):
        return objective.loss(lambda points, t: value * points, x, z, stream())

    loss(factor.float()).backward()
    with torch.no_grad():
        ahead, behind = (loss(torch.tensor(0.3 + h)) for h in (1e-3, -1e-3))
    assert float(factor.grad) == pytest.approx(float(ahead - behind) / 2e-3, rel=0.02)
    assert objective.evaluations == 9
    assert not any(p.requires_grad for p in objective.modules["features"].parameters())


def test_random_features_are_the_same_from_the_same_seed_and_tell_images_apart():
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(RandomFeatures(1)(X))
    assert torch.equal(*found) and found[0].dtype == torch.float32
    assert torch.cdist(found[0], found[0])[~torch.eye(8, dtype=bool)].min() > 0.1


def test_guided_distillation_is_nothing_for_a_student_that_is_as_straight_as_its_teacher():
    direction = torch.randn(1, 2, 2, dtype=torch.float64, generator=stream())

    def straight(points, condition):
        return direction.expand_as(points)

    objective = make_objective(
        FLOW, UNIFORM, Pick("flow_guided", {"teacher": "vanilla"}), guide=straight
    )
    assert float(objective.loss(straight, Z + direction, Z, stream())) == pytest.approx(0)


def test_guided_distillation_compares_with_the_sample_and_with_two_steps_of_the_teacher():
    objective = make_objective(
        FLOW, UNIFORM, Pick("flow_guided", {"teacher": "vanilla"}), guide=gaussian
    )
    found = objective.loss(lambda points, t: 0.1 * points, X, Z, stream(5))
    t = column(0.2 + 0.6 * torch.rand(8, generator=stream(5)), X)
    at_zero = torch.full((8,), 0.999)
    between = Z + t * gaussian(Z, at_zero)
    taught = between + (1 - t) * gaussian(between, 999 * (1e-3 + 0.999 * t.flatten()))
    expected = (1.1 * Z - X).square().mean() + (1.1 * Z - taught).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("loss", "missing"),
    [(Pick("mmd"), "channels"), (Pick("flow_guided", {"teacher": "vanilla"}), "guide")],
)
def test_what_a_loss_needs_must_be_given(loss, missing):
    with pytest.raises(InputError, match=f"expected {missing}, found none"):
        make_objective(FLOW, UNIFORM, loss)


# Back to the noise.


@pytest.mark.parametrize("process", ["rectified_flow", "edm", "diffusion"])
def test_inverse_of_a_solution_is_its_noise(process):
    picked = make_process(Pick(process))

    def field(points, condition):
        return 0.3 * torch.sin(points)

    steps = 200
    found = Sampler(Pick(process), Pick("heun")).sample(field, Z, steps)
    knots = sampling_times(PROCESSES[process], Pick("heun"), steps)

    def counted(points, condition):
        conditions = torch.as_tensor(condition).expand(len(points))
        return field(points, conditions)

    noise = inverse(picked, counted, found.samples, knots)
    assert float((noise - Z).abs().max()) < 0.03 * float(Z.abs().max())


def test_inverse_of_gaussian_samples_is_their_noise():
    """x = z S; an error of the second order is left."""
    errors = []
    for steps in (20, 40):
        process = RectifiedFlow(epsilon=0)

        def network(points, condition):
            return gaussian(points, torch.full((len(points),), float(condition)))

        noise = inverse(process, network, S * Z, uniform(steps, None))
        errors.append(float((noise - Z).norm()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] < 0.01 * float(Z.norm())
    assert math.isfinite(errors[0])
