import math
from fractions import Fraction

import pytest
import torch
from diffusers import DDIMScheduler

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.diffusion import Diffusion
from dansm.processes.grids import evaluations
from dansm.processes.objective import make_objective
from dansm.processes.samplers import Sampler

DIFFUSION = Diffusion()
OBJECTIVE = make_objective(Pick("diffusion"), Pick("uniform"), Pick("squared_error"))
NOISE = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def exact_alphas_bar():
    product, products = 1.0, []
    for t in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        products.append(product)
    return products


ALPHAS_BAR = exact_alphas_bar()


class Toy:
    """A nonlinear noise predictor that depends on the time and keeps the times it saw."""

    def __init__(self):
        self.times = []

    def __call__(self, x, time):
        assert time.shape == (len(x),)
        self.times.append(int(time[0]))
        return torch.tanh(x) + 0.1 * torch.cos(time / 100).reshape(-1, 1, 1, 1)


def ddim(network, noise, grid, steps):
    return Sampler(DIFFUSION, Pick("euler", {"grid": grid})).sample(network, noise, steps)


def times_of(grid, steps):
    network = Toy()
    ddim(network, NOISE, grid, steps)
    return network.times


def test_alphas_bar_is_the_product_of_one_minus_beta():
    assert DIFFUSION.alphas_bar.tolist() == pytest.approx(ALPHAS_BAR, rel=1e-12)
    assert DIFFUSION.times == 1000


def test_loss_is_the_mean_squared_error_of_the_noise():
    x = torch.randn(NOISE.shape, generator=torch.Generator().manual_seed(1))
    seen = {}

    def network(points, times):
        seen["points"], seen["times"] = points, times
        return points * 0.5

    loss = OBJECTIVE.loss(network, x, NOISE, torch.Generator().manual_seed(2))
    times = torch.randint(1000, (len(x),), generator=torch.Generator().manual_seed(2))
    assert torch.equal(seen["times"], times.float())
    total = 0.0
    for i, t in enumerate(times.tolist()):
        a = ALPHAS_BAR[t]
        point = math.sqrt(a) * x[i].double() + math.sqrt(1 - a) * NOISE[i].double()
        torch.testing.assert_close(seen["points"][i].double(), point, rtol=0, atol=1e-6)
        total += float((point * 0.5 - NOISE[i].double()).square().sum())
    assert float(loss) == pytest.approx(total / x.numel(), rel=1e-5)
    stream = torch.Generator().manual_seed(2)
    assert OBJECTIVE.loss(lambda p, t: NOISE, x, NOISE, stream) == 0


def test_times_of_the_loss_cover_all_of_them():
    seen = []
    x = torch.zeros(20000, 1)
    OBJECTIVE.loss(lambda p, t: seen.append(t) or p, x, x, torch.Generator().manual_seed(0))
    counts = torch.bincount(seen[0].long(), minlength=1000)
    assert counts.shape == (1000,) and counts.min() > 0
    assert float(((counts - 20) ** 2 / 20).sum()) == pytest.approx(1000, abs=4 * 2000**0.5)


@pytest.mark.parametrize(
    ("grid", "steps", "times"),
    [
        ("original", 1, [0]),
        ("original", 3, [999, 666, 333, 0]),
        ("original", 4, [750, 500, 250, 0]),
        ("original", 5, [800, 600, 400, 200, 0]),
        ("original", 10, [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]),
        ("trailing", 1, [999]),
        ("trailing", 3, [999, 666, 332]),
        ("trailing", 4, [999, 749, 499, 249]),
    ],
)
def test_spacings_and_true_number_of_evaluations(grid, steps, times):
    assert times_of(grid, steps) == times
    assert ddim(Toy(), NOISE, grid, steps).nfe == len(times)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 10, 30, 50, 100, 250, 999, 1000])
def test_trailing_spacing_takes_as_many_evaluations_as_steps(steps):
    times = times_of("trailing", steps)
    assert len(times) == steps and times[0] == 999 and times[-1] >= 0
    assert times == sorted(set(times), reverse=True)
    assert times == [round(1000 * k / steps) - 1 for k in range(steps, 0, -1)]


def diffusers_ddim(steps):
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(steps)
    return scheduler


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 10, 30, 50, 100, 250])
def test_trailing_spacing_is_diffusers(steps):
    assert times_of("trailing", steps) == diffusers_ddim(steps).timesteps.tolist()


# diffusers goes from t to t − 1000 // N, which is its own next time only if N divides 1000.
@pytest.mark.parametrize("steps", [1, 2, 4, 5, 10, 50])
def test_trailing_ddim_is_diffusers_step_by_step(steps):
    x, expected, scheduler, toy = NOISE, [], diffusers_ddim(steps), Toy()
    for time in scheduler.timesteps:
        expected.append(x)
        x = scheduler.step(toy(x, time.expand(len(x))), time, x, eta=0.0).prev_sample
    points = []
    found = ddim(lambda x, time: points.append(x) or Toy()(x, time), NOISE, "trailing", steps)
    # Early points are scaled up by 1/√ᾱ₉₉₉ ≈ 157, and so is float32's rounding.
    for mine, theirs in zip([*points, found.samples], [*expected, x], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("grid", ["original", "trailing"])
@pytest.mark.parametrize("steps", [3, 4, 10])
def test_ddim_is_equation_12(grid, steps):
    found = ddim(Toy(), NOISE, grid, steps).samples
    times, x, network = times_of(grid, steps), NOISE.double(), Toy()
    for i, t in enumerate(times):
        a = ALPHAS_BAR[t]
        b = ALPHAS_BAR[times[i + 1]] if i + 1 < len(times) else 1.0
        noise = network(x, torch.full((len(x),), float(t)))
        x = math.sqrt(b) * (x - math.sqrt(1 - a) * noise) / math.sqrt(a) + math.sqrt(1 - b) * noise
    torch.testing.assert_close(found.double(), x, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("solver", "steps"),
    [
        *((Pick("euler", {"grid": g}), n) for g in ("original", "trailing") for n in (1, 3, 10)),
        (Pick("heun"), 1),
        (Pick("heun"), 3),
        (Pick("rk45"), None),
    ],
    ids=str,
)
def test_the_perfect_predictor_of_one_data_point_returns_it(solver, steps):
    target = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
    sigmas = [math.sqrt((1 - a) / a) for a in ALPHAS_BAR]

    def predictor(x, time):
        low = int(time[0])
        part = float(time[0]) - low
        sigma = sigmas[low] ** (1 - part) * sigmas[min(low + 1, 999)] ** part
        return (x * math.sqrt(1 + sigma**2) - target) / sigma

    found = Sampler(DIFFUSION, solver).sample(predictor, NOISE.double(), steps).samples
    tolerance = 1e-9 if steps else 1e-4
    torch.testing.assert_close(found, target.expand_as(found), rtol=0, atol=tolerance)


def diffusers_scheduler(steps, schedule, zero_snr, prediction):
    scheduler = DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule={"linear": "linear", "cosine": "squaredcos_cap_v2"}[schedule],
        prediction_type={"noise": "epsilon", "velocity": "v_prediction", "data": "sample"}[
            prediction
        ],
        clip_sample=False,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=zero_snr,
    )
    scheduler.set_timesteps(steps)
    return scheduler


SCHEDULES = [("linear", False), ("cosine", False), ("linear", True), ("cosine", True)]


@pytest.mark.parametrize(("schedule", "zero_snr"), SCHEDULES)
@pytest.mark.parametrize("prediction", ["velocity", "data"])
def test_schedules_and_predictions_are_diffusers(schedule, zero_snr, prediction):
    scheduler = diffusers_scheduler(5, schedule, zero_snr, prediction)
    options = {"schedule": schedule, "zero_snr": zero_snr, "prediction": prediction}
    process = Diffusion(**options)
    # Theirs are in float32, and end at 2⁻²⁴ in place of 0.
    torch.testing.assert_close(
        process.alphas_bar.float(), scheduler.alphas_cumprod, rtol=2e-3, atol=1e-6
    )
    assert (process.alphas_bar[-1] == 0) == zero_snr
    x, toy = NOISE, Toy()
    for time in scheduler.timesteps:
        x = scheduler.step(toy(x, time.expand(len(x))), time, x, eta=0.0).prev_sample
    found = Sampler(Pick("diffusion", options), Pick("euler")).sample(Toy(), NOISE, 5).samples
    torch.testing.assert_close(found, x, rtol=1e-3, atol=1e-3)


MEAN = torch.linspace(-1, 1, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
SPREAD = torch.linspace(0.1, 0.9, 9, dtype=torch.float64).reshape(1, 1, 3, 3)


def levels(alpha_bar):
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


def expected_data(x, alpha, sigma):
    """What Gaussian data of these means and deviations are on average at noisy points."""
    gain = alpha * SPREAD**2 / (alpha**2 * SPREAD**2 + sigma**2)
    return MEAN + gain * (x - alpha * MEAN)


def answer(prediction, process, error=0.0):
    """Return the network of a prediction whose data are so much off those expected."""

    def network(x, time):
        alpha, sigma = (
            torch.tensor([levels(a) for a in process.alphas_bar[time.long()].tolist()])
            .double()
            .T.reshape(2, -1, 1, 1, 1)
        )
        data = expected_data(x, alpha, sigma) + error
        noise = (x - alpha * data) / sigma
        return {"data": data, "noise": noise, "velocity": alpha * noise - sigma * data}[prediction]

    return network


@pytest.mark.parametrize(("schedule", "zero_snr"), SCHEDULES)
@pytest.mark.parametrize("prediction", ["noise", "velocity", "data"])
def test_exact_predictions_of_gaussian_data_take_one_path(schedule, zero_snr, prediction):
    if zero_snr and prediction == "noise":
        return
    process = Diffusion(schedule, zero_snr, prediction)
    points, network = [], answer(prediction, process)
    sampler = Sampler(process, Pick("euler"))
    noise = NOISE.double()
    found = sampler.sample(lambda x, t: points.append(x) or network(x, t), noise, 7).samples
    indices = [round(1000 * k / 7) - 1 for k in range(7, 0, -1)]
    x = noise
    for place, index in enumerate(indices):
        torch.testing.assert_close(points[place], x, rtol=0, atol=1e-4)
        alpha, sigma = levels(float(process.alphas_bar[index]))
        following = float(process.alphas_bar[indices[place + 1]]) if place < 6 else 1.0
        data = expected_data(x, alpha, sigma)
        x = levels(following)[0] * data + levels(following)[1] * (x - alpha * data) / sigma
    # Noise is divided by √ᾱ, which the cosine schedule ends at 5e-5.
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)
    # Many steps give each direction its own deviation.
    many = sampler.sample(network, noise, 1000).samples
    exact = MEAN + SPREAD * noise if schedule == "cosine" or zero_snr else many
    torch.testing.assert_close(many, exact, rtol=0, atol=0.02)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("solver", "steps"), [(Pick("heun"), 5), (Pick("dpmpp_2m"), 5), (Pick("rk45"), None)], ids=str
)
def test_solvers_of_the_equation_see_one_velocity(schedule, solver, steps):
    def network(prediction, process):
        sigmas = ((1 - process.alphas_bar) / process.alphas_bar).sqrt()

        def between(x, time):  # adaptive solvers ask there, each image at a time of its own
            low, part = time.long(), time.double() - time.long()
            sigma = sigmas[low] ** (1 - part) * sigmas[(low + 1).clamp(max=999)] ** part
            sigma = sigma.reshape(-1, 1, 1, 1)
            alpha, sigma = 1 / (1 + sigma**2).sqrt(), sigma / (1 + sigma**2).sqrt()
            data = expected_data(x, alpha, sigma)
            noise = (x - alpha * data) / sigma
            return {"data": data, "noise": noise}.get(prediction, alpha * noise - sigma * data)

        return between

    samples = []
    for prediction in ("noise", "velocity", "data"):
        process = Diffusion(schedule, prediction=prediction)
        found = Sampler(process, solver).sample(network(prediction, process), NOISE.double(), steps)
        samples.append(found.samples)
    tolerance = 1e-6 if steps else 1e-2  # times are in float32, and so are σ between
    for other in samples[1:]:
        torch.testing.assert_close(other, samples[0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("weighting", [None, "noise_loss", "velocity_loss", "data_loss"])
@pytest.mark.parametrize("prediction", ["noise", "velocity", "data"])
def test_a_weighting_is_that_of_a_losss_error_of_the_data(prediction, weighting):
    options = {"prediction": prediction, "weighting": weighting}
    objective = make_objective(Pick("diffusion", options), Pick("uniform"), Pick("squared_error"))
    # Of data without spread the expected data are the data.
    x = torch.zeros(4, 1, 3, 3, dtype=torch.float64)

    def network(points, time):
        a = torch.tensor([ALPHAS_BAR[int(t)] for t in time], dtype=torch.float64)
        alpha, sigma = a.sqrt().reshape(-1, 1, 1, 1), (1 - a).sqrt().reshape(-1, 1, 1, 1)
        data = torch.full_like(points, 0.1)
        noise = (points - alpha * data) / sigma
        return {"data": data, "noise": noise}.get(prediction, alpha * noise - sigma * data)

    loss = objective.loss(network, x, NOISE.double(), torch.Generator().manual_seed(3))
    times = torch.randint(1000, (4,), generator=torch.Generator().manual_seed(3)).tolist()
    weights = {
        "noise": [ALPHAS_BAR[t] / (1 - ALPHAS_BAR[t]) for t in times],
        "velocity": [1 / (1 - ALPHAS_BAR[t]) for t in times],
        "data": [1.0] * 4,
    }[(weighting or prediction).removesuffix("_loss")]
    assert float(loss) == pytest.approx(0.01 * sum(weights) / 4, rel=1e-4)


@pytest.mark.parametrize("prediction", ["noise", "velocity", "data"])
@pytest.mark.parametrize("index", [0, 500, 999])
def test_an_error_of_the_answer_is_one_of_the_data(prediction, index):
    process, time = Diffusion(prediction=prediction), 1 - Fraction(index + 1, 1000)
    points = NOISE.double()
    right, wrong = (
        process.euler(lambda x, t, add=add: 0.3 * x + add, points, time, Fraction(1))
        for add in (0, 0.1)
    )
    error = 0.1 * process.data_error(torch.tensor([index])).reshape(1, 1, 1, 1)
    torch.testing.assert_close(wrong - right, error.expand_as(points))


def test_where_no_signal_is_left_only_ddim_begins():
    process = Pick("diffusion", {"zero_snr": True, "prediction": "velocity"})
    assert evaluations(process, Pick("euler"), 5) == 5
    for solver, steps in ((Pick("heun"), 5), (Pick("rk45"), None)):
        with pytest.raises(InputError, match="expected euler, the only solver that begins where"):
            evaluations(process, solver, steps)
        with pytest.raises(InputError, match="zero_snr: expected the solver euler"):
            Sampler(process, solver).sample(Toy(), NOISE, steps)
    later = Pick("heun", {"grid": "original"})
    assert evaluations(process, later, 4) == 7
    assert Sampler(process, later).sample(Toy(), NOISE, 4).samples.isfinite().all()
