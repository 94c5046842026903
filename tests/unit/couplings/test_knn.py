import pytest
import torch

from dansm.couplings import Knn
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 3)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("k", [2, 3, 17, 64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_each_sample_has_the_nearest_of_its_own_noises(k, scale):
    x, coupling = scale * samples(20), Knn(k, SEED)
    for batch in range(2):
        stream = generator(SEED, "noise", batch)
        candidates = torch.stack([torch.randn(x.shape, generator=stream) for _ in range(k)])
        found = coupling.match(x)
        for i, sample in enumerate(x.double()):
            squares = [
                float((sample - noise).square().sum()) for noise in candidates[:, i].double()
            ]
            assert torch.equal(found[i], candidates[squares.index(min(squares)), i])


def test_more_candidates_keep_those_of_fewer_and_never_make_a_distance_longer():
    x = samples(30)
    lengths = [(x - Knn(k, SEED).match(x)).flatten(1).norm(dim=1) for k in (2, 8, 32)]
    assert (lengths[1] <= lengths[0]).all() and (lengths[2] <= lengths[1]).all()


def test_the_noise_is_no_longer_gaussian():
    noise = Knn(64, SEED).match(torch.zeros(500, 8)).double()
    assert noise.var() < 0.6  # the shortest of 64: far from 1 ± 0.09


@pytest.mark.parametrize("match_size", [-1, 0, 1, 2.5])
def test_a_match_size_below_two_is_refused(match_size):
    with pytest.raises(ValueError, match=f"match_size {match_size}: knn takes a whole number"):
        Knn(match_size)
