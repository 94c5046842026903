"""Batches of generated images: the same images whatever the batch, decoded in parts."""

import numpy as np
import pytest
import torch

from dansm.catalogue import Pick
from dansm.config import Network
from dansm.metrics.sampling import DECODED_AT_ONCE, generate
from dansm.models.networks import make_network
from dansm.processes.samplers import Sampler

NETWORK = Network(channels=[4], layers_per_block=1, attention_at=[], dropout=0, norm_groups=2)


@pytest.fixture
def store(make_store):
    return make_store(np.zeros((4, 1, 8, 8), np.uint8), (0, 16))


def generated(store, decode, batch_size):
    options = {"shape": (1, 4, 4), "steps": 2, "first": 3, "count": 70}
    network = make_network(NETWORK, (1, 4, 4), seed=0).eval()
    sampler = Sampler(Pick("rectified_flow"), Pick("euler"))
    return list(generate(network, sampler, store, decode, batch_size=batch_size, **options))


def enlarged(latents):
    return latents.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.mark.parametrize("batch_size", [7, 64])
def test_images_do_not_depend_on_the_batches(store, batch_size):
    (whole,) = generated(store, enlarged, 70)
    parts = generated(store, enlarged, batch_size)
    assert [len(part.images) for part in parts[:-1]] == [batch_size] * (len(parts) - 1)
    images = torch.cat([part.images for part in parts])
    assert images.shape == (70, 1, 8, 8) and images.dtype == torch.uint8
    assert whole.nfe == parts[0].nfe == 2
    # One value more or less where float32 rounds another way in a batch of another size.
    assert (images.int() - whole.images.int()).abs().max() <= 1
    assert (images != whole.images).double().mean() < 0.01


def test_a_large_batch_is_decoded_in_parts(store):
    sizes = []

    def decode(latents):
        sizes.append(len(latents))
        return enlarged(latents)

    generated(store, decode, 64)
    assert max(sizes) == DECODED_AT_ONCE and sum(sizes) == 70
