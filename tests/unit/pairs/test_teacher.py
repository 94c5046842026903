"""Pairs of a teacher: its noises, what it makes of them, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from dansm.couplings.registry import Pick
from dansm.data.pair_store import open_pairs
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.io.run_folder import MODEL
from dansm.models.trained import load_model
from dansm.pairs import teacher
from dansm.pairs.teacher import make_pairs, pair_noises
from dansm.processes.rectified_flow import TIME_SCALE
from dansm.processes.samplers import Sampler
from dansm.randomness import generator, image_noises

from ..factories import make_settings, write_run

SHAPE = (1, 4, 4)
EULER, HEUN, RK45 = Pick("euler"), Pick("heun"), Pick("rk45")


class Gaussian(nn.Module):
    """The velocity of a flow from N(0, I) to N(mean, deviation²), in closed form."""

    class Answer:
        def __init__(self, sample):
            self.sample = sample

    def __init__(self, mean=2.0, deviation=0.5):
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, points, conditions):
        self.calls += 1
        t = (conditions / TIME_SCALE).reshape(-1, 1, 1, 1)
        variance = t**2 * self.deviation**2 + (1 - t) ** 2
        slope = (t * self.deviation**2 - (1 - t)) / variance
        return self.Answer(self.mean + slope * (points - t * self.mean))


@pytest.fixture
def gaussian(monkeypatch, tmp_path):
    """A teacher whose network is known in closed form."""
    network = Gaussian()
    monkeypatch.setattr(teacher, "load_model", lambda folder, settings: network)
    (tmp_path / MODEL).write_bytes(b"weights")
    return network


def pairs_of(folder, name="pairs", *, sampler=EULER, steps=4, count=20, states=0, **changes):
    given = {key: changes.pop(key) for key in ("inverted", "store") if key in changes}
    batch_size = changes.pop("batch_size", 8)
    make_pairs(
        make_settings(**changes),
        folder,
        sampler,
        steps,
        count,
        states,
        folder / f"{name}.work",
        folder / name,
        batch_size=batch_size,
        **given,
    )
    return open_pairs(folder / name)


def test_noises_are_gaussian_and_of_no_other_use():
    noises = pair_noises(0, range(2000), SHAPE)
    assert kstest(noises.flatten().numpy(), "norm").pvalue > 0.01
    covariance = np.cov(noises.flatten(1).numpy(), rowvar=False)
    assert np.abs(covariance - np.eye(16)).max() < 0.12
    assert torch.equal(noises[7:9], pair_noises(0, range(7, 9), SHAPE))
    # Neither an evaluation's, nor a training batch's, nor another seed's.
    others = [
        image_noises(0, 50, SHAPE),
        torch.randn(50, *SHAPE, generator=generator(0, "noise", 0)),
        pair_noises(1, range(50), SHAPE),
    ]
    assert torch.cdist(noises.flatten(1), torch.cat(others).flatten(1)).min() > 0.1


def test_pairs_are_noises_and_what_the_teacher_makes_of_them(tmp_path, gaussian):
    pairs = pairs_of(tmp_path)
    assert torch.equal(pairs.noise, pair_noises(0, range(20), SHAPE))
    sampler = Sampler(Pick("rectified_flow"), EULER)
    expected = sampler.sample(lambda *a: gaussian(*a).sample, pairs.noise.clone(), 4)
    torch.testing.assert_close(pairs.samples, expected.samples.detach())
    assert pairs.meta == {
        "teacher": make_settings().plain(),
        "run": tmp_path.parent.name,
        "folder": pairs.path.name,
        "model_sha256": sha256(tmp_path / MODEL),
        "sampler": "euler",
        "steps": 4,
        "count": 20,
        "states": 0,
        "inverted": 0,
        "times": [],
        "nfe": 4,
        "spent": {f"pairs {tmp_path.parent.name} pairs": 80},
    }


@pytest.mark.parametrize("sampler", [EULER, RK45], ids=["euler", "rk45"])
def test_one_step_along_a_gaussian_teachers_pairs_is_exact(tmp_path, gaussian, sampler):
    """Reflow: the pairs of a Gaussian teacher never cross, so a student can go straight."""
    steps = 0 if sampler == RK45 else 400
    pairs = pairs_of(tmp_path, sampler=sampler, steps=steps, count=64)
    noise, samples = pairs.noise.double(), pairs.samples.double()
    # What the student regresses, x − z, is a function of z; the best affine one is its answer.
    design = torch.stack([torch.ones(noise.numel(), dtype=torch.float64), noise.flatten()], dim=1)
    fitted = torch.linalg.lstsq(design, (samples - noise).flatten()[:, None]).solution
    one_step = noise + (design @ fitted).reshape(noise.shape)
    assert (one_step - samples).abs().max() < 1e-3
    # But for the noise's being taken for the point at time ε = 0.001.
    expected = gaussian.mean + gaussian.deviation * noise
    assert (samples - expected).abs().max() < (5e-3 if sampler == RK45 else 2e-2)


@pytest.mark.parametrize("sampler", [EULER, HEUN], ids=["euler", "heun"])
def test_states_between_are_those_that_the_sampler_passes(tmp_path, gaussian, sampler):
    pairs = pairs_of(tmp_path, sampler=sampler, steps=8, states=3)
    assert pairs.meta["times"] == [0.25, 0.5, 0.75] and pairs.points.shape == (20, 5, *SHAPE)
    # From the noise, two of eight steps lead to the first of them.
    points = pairs.noise.clone()
    grid = [1e-3 + (1 - 1e-3) * k / 8 for k in range(9)]
    for k, (start, end) in enumerate(itertools.pairwise(grid)):
        if k in (2, 4, 6):
            torch.testing.assert_close(pairs.points[:, k // 2], points.detach())
        times = torch.full((20,), TIME_SCALE)
        first = gaussian(points, times * start).sample
        if sampler == EULER:
            points = points + first / 8
        else:
            second = gaussian(points + (end - start) * first, times * end).sample
            points = points + (end - start) * (first + second) / 2
    torch.testing.assert_close(pairs.samples, points.detach())


def test_a_state_of_diffusion_is_a_noisy_sample(tmp_path, monkeypatch, gaussian):
    class Clean(nn.Module):
        """The noise in a point, where all samples are 0."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, points, conditions):
            process = Sampler(Pick("diffusion"), EULER).process
            alpha = process.alphas_bar[conditions.long()].float().reshape(-1, 1, 1, 1)
            return Gaussian.Answer(points / (1 - alpha).sqrt())

    monkeypatch.setattr(teacher, "load_model", lambda folder, settings: Clean())
    pairs = pairs_of(tmp_path, steps=10, states=4, process="diffusion", count=4)
    assert pairs.meta["times"] == [0.2, 0.4, 0.6, 0.8]
    shares = (
        pairs.points[:, 1:-1].flatten(2).norm(dim=2) / pairs.noise.flatten(1).norm(dim=1)[:, None]
    )
    assert (shares.diff(dim=1) < 0).all() and pairs.samples.abs().max() < 0.05


@pytest.mark.parametrize("states", [1, 3])
def test_states_where_the_sampler_does_not_stop_are_refused(tmp_path, gaussian, states):
    with pytest.raises(InputError, match="expected at most 0 states, as many as rk45 passes"):
        pairs_of(tmp_path, sampler=RK45, steps=0, states=states)
    with pytest.raises(InputError, match=f"expected at most {states - 1} states, as many as euler"):
        pairs_of(tmp_path, steps=states, states=states)
    assert gaussian.calls == 0


@pytest.mark.parametrize("sampler", [EULER, RK45], ids=["euler", "rk45"])
def test_pair_k_is_the_same_whatever_was_interrupted(tmp_path, gaussian, monkeypatch, sampler):
    steps = 0 if sampler == RK45 else 4
    whole = pairs_of(tmp_path, "whole", sampler=sampler, steps=steps)
    fewer = pairs_of(tmp_path, "fewer", sampler=sampler, steps=steps, count=11)
    assert torch.equal(fewer.points, whole.points[:11])
    noises = teacher.pair_noises

    def stopping(seed, pairs, shape):
        if pairs.start == 8:
            raise KeyboardInterrupt
        return noises(seed, pairs, shape)

    monkeypatch.setattr(teacher, "pair_noises", stopping)
    with pytest.raises(KeyboardInterrupt):
        pairs_of(tmp_path, "resumed", sampler=sampler, steps=steps)
    monkeypatch.setattr(teacher, "pair_noises", noises)
    done, gaussian.calls = gaussian.calls, 0
    resumed = pairs_of(tmp_path, "resumed", sampler=sampler, steps=steps)
    assert done and resumed.sha256 == whole.sha256
    own = {"folder": "resumed", "spent": resumed.meta["spent"]}
    assert resumed.meta == whole.meta | own
    assert [*own["spent"].values()] == [*whole.meta["spent"].values()]
    assert gaussian.calls == pytest.approx(2 * whole.meta["nfe"], rel=0.2)


def test_the_teacher_is_the_run_that_the_settings_say(tmp_path):
    settings = make_settings()
    with pytest.raises(InputError, match=r"model\.safetensors: expected network weights, found no"):
        pairs_of(tmp_path)
    network = load_model(write_run(tmp_path, "vanilla", settings), settings)
    pairs = pairs_of(tmp_path, count=3)
    # The last batch is whole too.
    noise = pair_noises(0, range(8), SHAPE)
    sampler = Sampler(settings.process, EULER)
    with torch.inference_mode():
        expected = sampler.sample(lambda *a: network(*a).sample, noise, 4).samples
    torch.testing.assert_close(pairs.samples, expected[:3])
    with pytest.raises(InputError, match="weights of another run or network"):
        pairs_of(tmp_path, seed=1)


def test_inverted_images_follow_with_the_noises_that_lead_to_them(tmp_path, gaussian, make_store):
    images = np.random.default_rng(0).integers(0, 256, (12, *SHAPE), dtype=np.uint8)
    store = make_store(images, value_range=(0, 255))
    options = {"sampler": HEUN, "steps": 40, "count": 20}
    pairs = pairs_of(tmp_path, inverted=11, store=store, **options)
    assert len(pairs) == 31 and pairs.meta["inverted"] == 11 and pairs.meta["count"] == 20
    assert torch.equal(pairs.points[:20], pairs_of(tmp_path, "generated", **options).points)
    samples = store.batch(np.arange(11))
    assert torch.equal(pairs.samples[20:], samples)
    # x = m + s z, but for the noise's being taken for the point at time ε = 0.001.
    expected = (samples - gaussian.mean) / gaussian.deviation
    assert (pairs.noise[20:] - expected).abs().max() < 0.02
    # The teacher makes the images of these noises.
    sampler = Sampler(Pick("rectified_flow"), HEUN)
    again = sampler.sample(lambda *a: gaussian(*a).sample, pairs.noise[20:].clone(), 40).samples
    assert (again - samples).abs().max() < 0.02
    assert pairs.meta["nfe"] == 80
    assert [*pairs.meta["spent"].values()] == [80 * 31]


def test_images_that_cannot_be_inverted_are_refused(tmp_path, gaussian, make_store):
    store = make_store(np.zeros((3, *SHAPE), dtype=np.uint8))
    with pytest.raises(InputError, match="expected 4 images to invert, found 3"):
        pairs_of(tmp_path, inverted=4, store=store)
    with pytest.raises(InputError, match="expected 4 images to invert, found no dataset"):
        pairs_of(tmp_path, inverted=4)
    with pytest.raises(InputError, match="expected a solver with steps to invert, found rk45"):
        pairs_of(tmp_path, inverted=3, store=store, sampler=RK45, steps=0)
    assert gaussian.calls == 0
