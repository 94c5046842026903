"""Lines Matching: minimisers, levels, weights, the discriminator; and straight windows."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch import nn

from dansm.couplings.registry import Pick
from dansm.errors import InputError, TrainingError
from dansm.processes.edm import EDM
from dansm.processes.grids import evaluations, noise_level, rho
from dansm.processes.lines import (
    Discriminator,
    LinesMatching,
    adaptive_weight,
    augmented,
    hinge,
)
from dansm.processes.objective import make_objective
from dansm.processes.piecewise import PiecewiseStraight
from dansm.processes.rectified_flow import TIME_SCALE, RectifiedFlow
from dansm.processes.samplers import Sampler
from dansm.processes.times import make_times

S = 0.5
FACTOR = S / (S**2 + 80**2) ** 0.5  # of a Gaussian teacher: x₁ = FACTOR · 80 z
A = 80 * FACTOR
EDM_PICK, FLOW = Pick("edm", {"sigma_data": S}), Pick("rectified_flow")
X, Z = torch.randn(2, 8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LEVELS = [float(noise_level(time)) for time in rho(18, None)[:-1]]


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def column(values, points):
    return values.to(points).reshape(-1, *[1] * (points.ndim - 1))


def student(inputs, condition):
    """F of EDM for the minimiser on lines between 80 z and A z: D(y; σ) = A/(A + σ) y."""
    sigma = column((condition / 250).exp(), inputs)
    scale = (sigma**2 + S**2).sqrt()
    y = inputs * scale
    skip, out = S**2 / scale**2, sigma * S / scale
    return (A / (A + sigma) * y - skip * y) / out


def test_levels_are_edms():
    expected = [80, 57.59, 40.79, 28.37, 19.35, 12.91, 8.40, 5.32, 3.26, 1.92, 1.09, 0.585, 0.296]
    assert LEVELS[:13] == pytest.approx(expected, rel=5e-3)
    assert LEVELS[-1] == pytest.approx(0.002) and len(LEVELS) == 18


@pytest.mark.parametrize("levels", [None, (0, 3)])
def test_training_sees_the_listed_levels_alone(levels):
    times = make_times(Pick("noise_levels", {"levels": levels} if levels else {}))
    drawn = EDM().draw_times(times, torch.zeros(2000, 1), stream())
    expected = [LEVELS[k] for k in (levels or range(18))]
    assert sorted(set(drawn.tolist()), reverse=True) == pytest.approx(expected, rel=1e-4)


def test_the_minimiser_on_a_gaussian_teachers_lines_has_no_loss():
    times, loss = Pick("noise_levels"), Pick("lines")
    given = {"channels": 1, "last_layer": nn.Parameter(torch.zeros(1)), "images": lambda *_: X}
    objective = make_objective(EDM_PICK, times, loss, **given)
    found = objective.loss(student, A * Z, Z, stream())
    assert float(found) < 1e-6
    wrong = objective.loss(lambda points, t: student(points, t) + 0.1, A * Z, Z, stream())
    assert float(wrong) > 1e-4


@pytest.mark.parametrize("levels", [[0], [0, 1], [0, 1, 2], [0, 3, 5], [0, 1, 3, 5]])
def test_the_student_is_exact_at_every_number_of_steps_with_the_first_noise(levels):
    solver = Pick("line", {"levels": tuple(levels)})
    found = Sampler(EDM_PICK, solver).sample(student, Z)
    # D(80 z; 80) = A/(A + 80) 80 z, whose line goes through A z but for the noise's 80.
    assert found.nfe == len(levels) == evaluations(EDM_PICK, solver)
    torch.testing.assert_close(found.samples, A * 80 / (A + 80) * Z, rtol=2e-2, atol=0)


@pytest.mark.parametrize(("place", "factor"), [(1, 0.983), (3, 0.966), (5, 0.928)])
def test_fresh_noise_multiplies_the_variance_as_reckoned(place, factor):
    """By (s² + σ²)/(s + σ)² at the level σ that is gone back to, with a = s."""
    z = torch.randn(4000, 1, 4, 4, dtype=torch.float64, generator=stream())
    first, fresh = (
        Sampler(EDM_PICK, Pick("line", {"levels": (0, place), "fresh": fresh})).sample(student, z)
        for fresh in (False, True)
    )
    ratio = float(fresh.samples.var() / first.samples.var())
    assert ratio == pytest.approx(factor, abs=0.012)


def test_fresh_noise_does_not_depend_on_the_batch():
    sampler = Sampler(EDM_PICK, Pick("line", {"levels": (0, 3, 5), "fresh": True}))
    whole = sampler.sample(student, Z).samples
    parts = torch.cat([sampler.sample(student, part).samples for part in Z.split(3)])
    torch.testing.assert_close(whole, parts)


def test_squared_distance_is_the_flows_loss_weighted_by_the_noise():
    given = {"channels": 1, "last_layer": nn.Parameter(torch.zeros(1)), "images": lambda *_: X}
    lines, plain = (
        make_objective(FLOW, Pick("u_shaped"), loss, **given)
        for loss in (Pick("lines"), Pick("squared_error", {"of": "data"}))
    )
    losses = [o.loss(lambda points, t: 0.2 * points, X, Z, stream(4)) for o in (lines, plain)]
    torch.testing.assert_close(*losses, check_dtype=False, rtol=1e-6, atol=0)


def test_hinge_is_nothing_where_the_discriminator_is_sure():
    one = torch.ones(4)
    assert float(hinge(one, -one)) == 0
    assert float(hinge(0 * one, 0 * one)) == 2
    assert float(hinge(-one, one)) == 4


def test_adaptive_weight_is_the_ratio_of_gradients_between_its_bounds():
    layer = nn.Parameter(torch.tensor([3.0, 4.0]))
    loss = 2 * layer.sum()
    for scale, expected in ((0.5, 2), (1e-5, 10), (1e4, 0.01)):
        found = float(adaptive_weight(loss, scale * loss, layer))
        assert found == pytest.approx(expected, rel=1e-3)


def adversarial(last_layer, images=X):
    torch.manual_seed(0)
    return LinesMatching(
        RectifiedFlow(),
        make_times(Pick("uniform")),
        channels=1,
        last_layer=last_layer,
        images=lambda count, stream: images[:count].float(),
        adversarial=True,
    )


def test_the_discriminator_learns_to_tell_real_from_predicted_images():
    network = nn.Conv2d(1, 1, 1)
    objective = adversarial(network.weight, images=X + 2)
    critic = objective.modules["discriminator"]
    before = [p.clone() for p in critic.parameters()]
    losses = []
    for k in range(40):
        loss = objective.loss(lambda p, t: network(p), X.float(), Z.float(), stream(k))
        loss.backward()
        losses.append(float(hinge(*map(critic, objective._seen))))
        objective.step(lambda loss: loss.backward())
    assert losses[-1] < 0.5 * losses[0]
    assert any(not torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))
    assert network.weight.grad is not None
    assert all(p.grad is None for p in critic.parameters())


def test_a_discriminator_that_diverges_is_an_error():
    objective = adversarial(nn.Conv2d(1, 1, 1).weight)
    objective._seen = torch.full((2, 1, 8, 8), torch.nan), torch.zeros(2, 1, 8, 8)
    with pytest.raises(TrainingError, match="the discriminator diverged: its loss is nan"):
        objective.step(lambda loss: loss.backward())


def test_augmentation_moves_by_whole_pixels_and_is_differentiable():
    images = X.clone().requires_grad_()
    found = augmented(images, stream(1))
    assert found.shape == X.shape and not torch.equal(found, X)
    assert torch.equal(found, augmented(images, stream(1)))
    found.sum().backward()
    assert images.grad.abs().sum() > 0
    # What is seen of an image is its own, up to brightness and contrast; some of it is black.
    assert ((found == 0).flatten(1).sum(dim=1) >= 1).all()
    assert Discriminator(1)(found).shape == (8, 1, 4, 4)


# Straight windows.


def gaussian(points, condition):
    t = column(condition, points) / TIME_SCALE
    return (t * S**2 - (1 - t)) * points / (t**2 * S**2 + (1 - t) ** 2)


def deviation(t):
    return (t**2 * S**2 + (1 - t) ** 2) ** 0.5


def pieces(knots):
    """The velocity of paths z √V(t) made straight between knots."""
    ends = [1e-3 + 0.999 * k for k in (0, *knots, 1)]

    def velocity(points, condition):
        t = column(condition.double(), points) / TIME_SCALE
        found = torch.zeros_like(points)
        for low, high in itertools.pairwise(ends):
            start, end = deviation(low), deviation(high)
            slope = (end - start) / (high - low)
            inside = (t >= low - 1e-9) & ((t < high - 1e-9) | (high == ends[-1]))
            found = torch.where(inside, slope / (start + slope * (t - low)) * points, found)
        return found

    return velocity


@pytest.mark.parametrize("knots", [(), (0.5,), (0.25, 0.5, 0.75)])
def test_straight_windows_have_no_loss_for_straight_velocities_of_a_gaussian(knots):
    """Any point of a window's start is at z √V there, so pairs are x = 0, scaled noise."""
    objective = PiecewiseStraight(
        RectifiedFlow(), make_times(Pick("uniform")), gaussian, knots=knots, steps=40
    )
    z = torch.randn(64, 1, 2, 2, dtype=torch.float64, generator=stream())
    loss = objective.loss(pieces(knots), 0 * z, z, stream(1))
    assert float(loss) < 1e-5
    assert float(objective.loss(gaussian, 0 * z, z, stream(1))) > 20 * float(loss)


def test_a_window_that_is_not_straightened_is_taught_the_teachers_velocity():
    objective = PiecewiseStraight(
        RectifiedFlow(), make_times(Pick("uniform")), gaussian, straight=[]
    )
    assert float(objective.loss(gaussian, X, Z, stream())) == 0
    assert objective.evaluations == 4
    early = PiecewiseStraight(
        RectifiedFlow(), make_times(Pick("uniform")), gaussian, straight=[0], steps=40
    )
    straight, half = pieces((0.5,)), 1e-3 + 0.999 / 2

    def network(points, condition):
        late = column(condition, points) / TIME_SCALE >= half
        return torch.where(late, gaussian(points, condition), straight(points, condition))

    z = torch.randn(64, 1, 2, 2, dtype=torch.float64, generator=stream())
    assert float(early.loss(network, 0 * z, z, stream(1))) < 1e-5
    assert early.evaluations == 3 + 80 * 0.5 + 0.5


def test_straight_pieces_are_exact_with_one_step_each():
    solver = Pick("euler", {"knot": 0.5, "parts": (1, 1)})
    found = Sampler(FLOW, solver).sample(pieces((0.5,)), Z)
    assert found.nfe == 2
    torch.testing.assert_close(found.samples, S * Z, rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        (Pick("piecewise", {"teacher": "a", "knots": (0.0,)}), "expected rising times between 0"),
        (Pick("piecewise", {"teacher": "a", "knots": (0.5, 0.2)}), "expected rising times between"),
        (Pick("piecewise", {"teacher": "a", "straight": (2,)}), r"expected some of \[0, 1\]"),
        (Pick("lines", {"distance": "vgg"}), "expected 'squared' or 'random', found 'vgg'"),
    ],
)
def test_options_that_cannot_be_are_refused(pick, message):
    with pytest.raises(InputError, match=message):
        make_objective(FLOW, Pick("uniform"), pick)


@pytest.mark.parametrize(
    ("levels", "message"),
    [((3, 1), "rising places"), ((0, 18), "from 0 to 17"), ((1, 2), "the first to be 0")],
)
def test_levels_that_cannot_be_are_refused(levels, message):
    with pytest.raises(InputError, match=message):
        Sampler(EDM_PICK, Pick("line", {"levels": levels}))
    assert Fraction(0) == rho(18, None)[0]
