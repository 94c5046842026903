import hashlib

import numpy as np
import pytest
import torch

from dansm.randomness import generator, image_noises, stream_seed


def test_stream_seed_is_the_documented_hash():
    digest = hashlib.sha256(b"3:pool:7:1").digest()
    assert stream_seed(3, "pool", 7, 1) == int.from_bytes(digest[:8], "little") // 2
    assert 0 <= stream_seed(3, "pool", 7, 1) < 2**63


def test_streams_differ_by_seed_purpose_and_index():
    keys = [(s, p, *i) for s in range(4) for p in "ab" for i in [(), (0,), (1,), (0, 1), (1, 0)]]
    assert len({stream_seed(*key) for key in keys}) == len(keys)


def test_a_stream_starts_afresh_and_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    draws = [torch.randn(5, generator=generator(1, "a", 2)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", [[7], [3, 4], [1] * 7])
def test_image_noises_do_not_depend_on_the_batches(parts):
    whole = image_noises(10, 7, (2, 3, 4))
    first, pieces = 10, []
    for count in parts:
        pieces.append(image_noises(first, count, (2, 3, 4)))
        first += count
    assert whole.shape == (7, 2, 3, 4) and whole.dtype == torch.float32
    assert torch.equal(torch.cat(pieces), whole)


def test_image_noises_are_gaussian_and_all_different():
    noises = image_noises(0, 500, (1, 8, 8)).flatten(1).double()
    assert len(noises.unique(dim=0)) == 500
    assert abs(noises.mean()) < 4 / noises.numel() ** 0.5
    assert abs(noises.var() - 1) < 4 * (2 / noises.numel()) ** 0.5


def test_whole_numbers_of_any_type_name_the_same_stream():
    seeds = {stream_seed(0, "x", index) for index in (3, np.int64(3), torch.tensor(3))}
    assert len(seeds) == 1
    with pytest.raises(TypeError):
        stream_seed(0, "x", 3.0)
