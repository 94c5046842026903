from itertools import permutations

import pytest
import torch

from dansm.couplings import Immiscible
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 3), scale=1.0):
    return scale * torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))


def distances(x, noise):
    return (x.double().flatten(1)[:, None] - noise.double().flatten(1)).square().sum(-1).sqrt()


@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_each_batch_has_the_best_of_all_permutations(n, scale):
    x, coupling = samples(n, scale=scale), Immiscible(0, SEED)
    for k in range(3):
        noise = torch.randn(x.shape, generator=generator(SEED, "noise", k))
        costs = distances(x, noise)
        best = min(permutations(range(n)), key=lambda p: sum(costs[i, p[i]] for i in range(n)))
        assert torch.equal(coupling.match(x), noise[list(best)])


@pytest.mark.parametrize("shape", [(4, 8, 8), (3, 32, 32)])
def test_quantized_costs_hardly_more(shape):
    x = samples(96, shape)
    exact, quantized, random = (
        (x - noise).flatten(1).norm(dim=1).mean()
        for noise in (
            Immiscible(0, SEED).match(x),
            Immiscible(0, SEED, quantized=True).match(x),
            torch.randn(x.shape, generator=generator(SEED, "noise", 0)),
        )
    )
    assert exact <= quantized < exact + 0.05 * (random - exact)


def test_quantized_assigns_by_rounded_distances_and_hands_out_noise_as_drawn():
    # Two samples that differ by less than half precision resolves are alike to it.
    x = torch.tensor([[1.0, 0.0], [1.0 + 1e-5, 1e-5]])
    noise = torch.randn(x.shape, generator=generator(SEED, "noise", 0))
    found = Immiscible(0, SEED, quantized=True).match(x)
    assert torch.equal(found, noise)  # a tie keeps the order
    flipped = Immiscible(0, SEED, quantized=True).match(x.flip(0))
    assert torch.equal(flipped, noise)


def test_long_vectors_do_not_overflow_half_precision():
    x = samples(8, (3, 64, 64), scale=200.0)  # ‖x − n‖² is 5e8, half precision ends at 65 504
    assert Immiscible(0, SEED, quantized=True).match(x).isfinite().all()


def test_a_match_size_is_refused():
    with pytest.raises(ValueError, match="match_size 5: immiscible takes 0"):
        Immiscible(5)
