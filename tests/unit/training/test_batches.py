"""Batches: every sample once an epoch, shared by processes, flipped and drawn anew."""

import numpy as np
import pytest
import torch

from dansm.data.pair_store import PairStore
from dansm.errors import InputError
from dansm.training.batches import ShuffledBatches

from ..factories import make_settings

SETTINGS = make_settings(shape=(1, 8, 8), horizontal_flips=True, seed=3)


@pytest.fixture
def store(make_store):
    images = np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8), dtype=np.uint8)
    return make_store(images, value_range=(0, 16))


def test_each_epoch_visits_every_sample_once_across_batches(store):
    batches = iter(ShuffledBatches(store, SETTINGS, rank=0, ranks=1))
    rows = torch.cat([next(batches).extras["row"] for _ in range(25)])
    epochs = rows.reshape(4, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_ranks_share_a_batch(store):
    whole = next(iter(ShuffledBatches(store, SETTINGS, 0, 1)))
    shares = [next(iter(ShuffledBatches(store, SETTINGS, rank, 2))) for rank in (0, 1)]
    assert torch.equal(torch.stack([s.samples for s in shares], 1).flatten(0, 1), whole.samples)
    with pytest.raises(InputError, match="batch_size 8: expected a multiple of 3 processes"):
        ShuffledBatches(store, SETTINGS, 0, 3)


def test_flips_mirror_about_half_of_the_images_for_good(store):
    plain = SETTINGS.model_copy(update={"horizontal_flips": False})
    flipped = 0
    pairs = zip(
        ShuffledBatches(store, SETTINGS, 0, 1), ShuffledBatches(store, plain, 0, 1), strict=False
    )
    for _, (ours, theirs) in zip(range(25), pairs, strict=False):
        for image, original in zip(ours.samples, theirs.samples, strict=True):
            mirrored = torch.equal(image, original.flip(2))
            assert mirrored or torch.equal(image, original)
            flipped += mirrored
    assert 70 < flipped < 130


def test_latents_are_drawn_anew_in_every_epoch_and_alike_by_ranks(latents):
    plain = SETTINGS.model_copy(update={"horizontal_flips": False})
    batches = iter(ShuffledBatches(latents, plain, 0, 1))
    epochs = [[], []]
    for k in range(25):
        batch = next(batches)
        noise = batch.samples - latents.batch(batch.extras["row"].numpy())
        noise /= torch.from_numpy(latents.parts["deviation"][batch.extras["row"].numpy()]).float()
        epochs[k // 13].append(noise)
    noise = torch.cat(epochs[0])
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(epochs[0][0], epochs[1][0])
    again = ShuffledBatches(latents, plain, 0, 1)
    again.position = 24  # as after a resumption
    assert torch.equal(next(iter(again)).samples, batch.samples)
    for settings in (plain, SETTINGS):
        whole = next(iter(ShuffledBatches(latents, settings, 0, 1))).samples
        shares = [next(iter(ShuffledBatches(latents, settings, r, 2))).samples for r in (0, 1)]
        assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole)


def test_pairs_give_their_samples_in_the_same_order(store):
    plain = SETTINGS.model_copy(update={"horizontal_flips": False})
    samples = store.batch(np.arange(50))
    teacher_pairs = PairStore(store.path, torch.stack([-samples, samples], dim=1), {}, "")
    pairs = zip(
        ShuffledBatches(teacher_pairs, plain, 0, 1),
        ShuffledBatches(store, plain, 0, 1),
        strict=False,
    )
    for _, (ours, theirs) in zip(range(8), pairs, strict=False):
        assert torch.equal(ours.extras["row"], theirs.extras["row"])
        assert torch.equal(ours.samples, samples[ours.extras["row"]])
