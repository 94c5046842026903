"""Matching in torchcfm's matchers, diffusers' schedulers and PyTorch's loaders: their own code."""

import copy
import pickle
from functools import partial

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchcfm import conditional_flow_matching as torchcfm

from dansm.couplings import (
    Hungarian,
    MatchedFlowMatcher,
    MatchingCollate,
    make_coupling,
    match_scheduler,
)
from dansm.randomness import stream_seed

greedy = partial(make_coupling, "greedy", match_size=50)


def images(seed=0, count=16):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1


MATCHERS = [
    torchcfm.ConditionalFlowMatcher,
    torchcfm.TargetConditionalFlowMatcher,
    torchcfm.VariancePreservingConditionalFlowMatcher,
]


@pytest.mark.parametrize("kind", MATCHERS)
@pytest.mark.parametrize("options", [{}, {"return_noise": True}, {"t": torch.arange(16) / 16}])
def test_torchcfm_mixes_samples_with_matched_noise(kind, options):
    x1, coupling = images(), greedy(seed=3)
    noise = greedy(seed=3).match(x1)
    torch.manual_seed(0)
    expected = kind(sigma=0.1).sample_location_and_conditional_flow(noise, x1, **options)
    torch.manual_seed(0)
    matcher = MatchedFlowMatcher(kind(sigma=0.1), coupling)
    found = matcher.sample_location_and_conditional_flow(torch.zeros_like(x1), x1, **options)
    assert len(found) == len(expected) == 3 + ("return_noise" in options)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert matcher.sigma == 0.1
    assert matcher.compute_sigma_t(0.5) == kind(sigma=0.1).compute_sigma_t(0.5)


def test_torchcfm_with_labels_matches_within_classes():
    x1, y1 = images(), torch.arange(16) % 2
    matcher = MatchedFlowMatcher(torchcfm.ConditionalFlowMatcher(0.0), greedy(labels="y"))
    x0 = torch.randn_like(x1)
    t, xt, ut, y0, found = matcher.guided_sample_location_and_conditional_flow(x0, x1, y1=y1)
    noise = greedy(labels="y").match(x1, y1)
    assert torch.equal(ut, x1 - noise) and found is y1 and y0 is None
    torch.testing.assert_close(xt, t[:, None, None, None] * ut + noise)


def test_a_matcher_can_be_copied_and_saved():
    matcher = MatchedFlowMatcher(torchcfm.ConditionalFlowMatcher(0.0), greedy())
    again = pickle.loads(pickle.dumps(matcher))
    other = copy.deepcopy(matcher)
    assert again.sigma == other.sigma == 0.0
    assert torch.equal(again.coupling.match(images()), other.coupling.match(images()))


def scheduler_of(kind):
    scheduler = kind()
    if kind is EulerDiscreteScheduler:
        scheduler.set_timesteps(1000)
    return scheduler


SCHEDULERS = [DDPMScheduler, DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler]


def mixed(scheduler, samples, noise, named=False):
    """Mix samples with noise as diffusers' training scripts do."""
    chosen = torch.arange(len(samples)) * 20
    if hasattr(scheduler, "scale_noise"):
        times = scheduler.timesteps[chosen]
        if named:
            return scheduler.scale_noise(sample=samples, timestep=times, noise=noise)
        return scheduler.scale_noise(samples, times, noise)
    times = scheduler.timesteps[chosen]
    if named:
        return scheduler.add_noise(original_samples=samples, noise=noise, timesteps=times)
    return scheduler.add_noise(samples, noise, times)


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("named", [False, True])
def test_diffusers_mixes_samples_with_matched_noise_and_targets_follow(kind, named):
    samples = images()
    expected = greedy(seed=1).match(samples)
    scheduler = scheduler_of(kind)
    match_scheduler(scheduler, greedy(seed=1))
    noise = torch.randn_like(samples)
    noisy = mixed(scheduler, samples, noise, named)
    assert torch.equal(noise, expected)
    assert torch.equal(noisy, mixed(scheduler_of(kind), samples, expected))
    if kind is DDPMScheduler:
        times = torch.arange(16)
        velocity = scheduler.get_velocity(samples, noise, times)
        assert torch.equal(velocity, kind().get_velocity(samples, expected, times))
    # The next batch comes from the same pool.
    following = torch.randn_like(samples)
    mixed(scheduler, images(1), following)
    assert not torch.equal(following, noise)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_pipelines_sample_and_save_as_before(kind, tmp_path):
    scheduler = scheduler_of(kind)
    match_scheduler(scheduler, greedy())
    noise = torch.randn_like(images())
    before = noise.clone()
    with torch.no_grad():
        mixed(scheduler, images(), noise)
    assert torch.equal(noise, before)
    scheduler.save_pretrained(tmp_path)
    saved = kind.from_pretrained(tmp_path)
    assert type(saved) is kind
    assert all(saved.config[key] == kind().config[key] for key in kind().config if key[0] != "_")
    if kind is DDPMScheduler:
        unet = UNet2DModel(
            sample_size=8,
            block_out_channels=(8,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            norm_num_groups=4,
        )
        found = [
            DDPMPipeline(unet, one)(
                generator=torch.manual_seed(0), num_inference_steps=2, output_type="np"
            ).images
            for one in (scheduler, DDPMScheduler())
        ]
        assert (found[0] == found[1]).all()


class Rows(Dataset):
    """A sample, its class and the seed of the worker that read it."""

    def __len__(self):
        return 64

    def __getitem__(self, row):
        worker = get_worker_info()
        return images(row, 1)[0], row % 2, -1 if worker is None else worker.seed


def rows(workers, labels=None, **options):
    collate = MatchingCollate(
        partial(greedy, labels=labels and "label"), seed=5, samples=0, labels=labels
    )
    generator = torch.Generator().manual_seed(0)
    return DataLoader(
        Rows(), 8, num_workers=workers, collate_fn=collate, generator=generator, **options
    )


def test_workers_hand_out_noises_of_their_own_epoch_after_epoch():
    loader = rows(2)
    found = [(batch, noise) for _ in range(2) for batch, noise in loader]
    couplings = {}
    for (samples, _, seeds), noise in found:
        (seed,) = set(seeds.tolist())
        coupling = couplings.setdefault(seed, greedy(seed=stream_seed(5, "worker", seed)))
        assert torch.equal(noise, coupling.match(samples))
    assert len(couplings) == 4
    noises = torch.cat([noise for _, noise in found]).flatten(1)
    assert len(noises.unique(dim=0)) == len(noises) == 128


def test_without_workers_there_is_one_coupling_whose_state_is_at_hand():
    loader, expected = rows(0), greedy(seed=5)
    for (samples, *_), noise in loader:
        assert torch.equal(noise, expected.match(samples))
    assert torch.equal(loader.collate_fn.coupling.match(images()), expected.match(images()))
    again = pickle.loads(pickle.dumps(loader.collate_fn))
    assert torch.equal(again.coupling.match(images()), greedy(seed=5).match(images()))


def test_a_loader_matches_within_classes():
    expected = greedy(seed=5, labels="label")
    for (samples, labels, _), noise in rows(0, labels=1):
        assert torch.equal(noise, expected.match(samples, labels))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: MatchedFlowMatcher(None, Hungarian(8)), "hungarian: expected a coupling that ans"),
        (lambda: match_scheduler(DDPMScheduler(), Hungarian(8)), "hungarian: expected a coupling"),
        (lambda: match_scheduler(object(), greedy()), "expected one with add_noise or scale_noise"),
        (lambda: MatchingCollate(lambda seed: Hungarian(8))([images()[0]]), "hungarian: expected"),
        (lambda: MatchingCollate(greedy, samples="x")([{"image": 1}]), r"'x' in it, found \['im"),
        (lambda: MatchingCollate(greedy, samples=3)([(1, 2)]), "batch: expected 3 in it"),
        (
            lambda: MatchedFlowMatcher(
                torchcfm.ConditionalFlowMatcher(), greedy()
            ).sample_location_and_conditional_flow(images(count=3), images()),
            r"noise: expected the samples' shape \(16, 1, 4, 4\), found \(3, 1, 4, 4\)",
        ),
    ],
)
def test_what_does_not_go_together_is_named(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()
