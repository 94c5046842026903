"""What all couplings with fresh noise have in common."""

from functools import partial

import pytest
import torch

from dansm.couplings import Batch, Immiscible, Knn, MinibatchOT
from dansm.randomness import generator

SEED = 5
KINDS = {
    "immiscible": partial(Immiscible, 0, SEED),
    "quantized": partial(Immiscible, 0, SEED, quantized=True),
    "knn": partial(Knn, 6, SEED),
    "exact": partial(MinibatchOT, 0, SEED),
    "sinkhorn": partial(MinibatchOT, 0, SEED, method="sinkhorn", regularisation=0.05),
}
PERMUTING = ["immiscible", "quantized", "exact"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def samples(n, shape=(2, 3), seed=0):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed))


def candidates(x, k, count=1):
    """The noises drawn for batch k, one for each sample or several."""
    stream = generator(SEED, "noise", k)
    return torch.cat([torch.randn(x.shape, generator=stream) for _ in range(count)])


def rows_in(found, noises):
    """Which of the noises each found one is."""
    same = (found.flatten(1)[:, None] == noises.flatten(1)).all(-1)
    assert (same.sum(dim=1) == 1).all()
    return same.nonzero()[:, 1]


@each_kind
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_noise_is_of_the_batch_s_stream_in_shape_and_dtype(kind, shape, dtype):
    x, coupling = samples(9, shape).to(dtype), KINDS[kind]()
    for k in range(2):
        found = coupling.match(x)
        assert (found.shape, found.dtype, found.device) == (x.shape, dtype, x.device)
        used = rows_in(found, candidates(x, k, 6 if kind == "knn" else 1).to(dtype))
        if kind in PERMUTING:
            assert sorted(used.tolist()) == list(range(9))
        if kind == "knn":  # each sample has candidates of its own
            assert (used % 9).tolist() == list(range(9))


@pytest.mark.parametrize("kind", PERMUTING)  # the others draw noises by position
def test_noise_follows_its_samples_when_they_are_reordered(kind):
    x, order = samples(12), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(KINDS[kind]().match(x)[order], KINDS[kind]().match(x[order]))


@each_kind
def test_noise_is_pulled_towards_the_samples(kind):
    x = samples(64, (30,))
    pull = (x * KINDS[kind]().match(x)).sum(dim=1) / x.norm(dim=1)
    assert pull.mean() > 0.5  # independent noise: 0 ± 0.125


@each_kind
def test_pairs_carry_samples_and_extras(kind):
    batches = [Batch(samples(4, seed=k), {"label": torch.arange(4) + k}) for k in range(2)]
    coupling = KINDS[kind]()
    for pairs, batch in zip(KINDS[kind]().pairs(batches), batches, strict=True):
        assert pairs.samples is batch.samples and pairs.extras is batch.extras
        assert torch.equal(pairs.noise, coupling.match(batch.samples))


@each_kind
def test_costs_that_overflow_are_refused_and_change_nothing(kind):
    coupling, x = KINDS[kind](), samples(4)
    with pytest.raises(ValueError, match=r"distances to noise are finite in .* value of 3e\+38"):
        coupling.match(torch.full((2, 2, 3), 3e38))
    assert torch.equal(coupling.match(x), KINDS[kind]().match(x))


@each_kind
def test_one_sample_is_a_batch(kind):
    assert KINDS[kind]().match(samples(1)).shape == (1, 2, 3)
