import pytest
import torch

from dansm.couplings import Independent, make_coupling
from dansm.randomness import generator


@pytest.mark.parametrize("shape", [(5, 3), (4, 2, 3), (4, 1, 3, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_is_the_stream_of_the_batch(shape, dtype):
    coupling = make_coupling("independent", seed=3)
    for k in range(3):
        found = coupling.match(torch.ones(shape, dtype=dtype))
        expected = torch.randn(shape, generator=generator(3, "noise", k)).to(dtype)
        assert found.dtype == dtype and torch.equal(found, expected)


def test_noise_does_not_depend_on_the_samples():
    noises = [Independent(seed=1).match(x) for x in (torch.zeros(9, 2), torch.ones(9, 2))]
    assert torch.equal(*noises)


def test_noise_is_gaussian():
    noise = Independent().match(torch.zeros(1000, 20)).double()
    assert abs(noise.mean()) < 4 / 20000**0.5
    assert abs(noise.var() - 1) < 4 * (2 / 20000) ** 0.5


def test_match_size_one_is_the_vanilla_method_and_larger_ones_are_refused():
    x = torch.zeros(4, 3)
    assert torch.equal(Independent(1).match(x), Independent(0).match(x))
    assert Independent(1).state_dict() == Independent(0).state_dict()
    with pytest.raises(ValueError, match="match_size 5: independent takes 0"):
        make_coupling("independent", match_size=5)
