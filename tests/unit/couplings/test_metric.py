"""The covariance metric against numpy's, and its errors."""

import numpy as np
import pytest
import torch

from dansm.couplings import metric
from dansm.couplings.metric import covariance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_the_covariance_with_a_mean_eigenvalue_of_one(dtype, monkeypatch):
    monkeypatch.setattr(metric, "_BLOCK", 7)
    stream = torch.Generator().manual_seed(0)
    flat = (torch.randn(50, 6, generator=stream) * torch.arange(1, 7) + 3).to(dtype)
    found = covariance(flat)
    expected = np.cov(flat.double().numpy().T)
    expected *= 6 / np.trace(expected)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_equal_samples_have_none():
    with pytest.raises(ValueError, match="metric covariance: expected samples that differ"):
        covariance(torch.ones(5, 3))


def test_a_matrix_larger_than_the_memory_is_refused():
    with pytest.raises(
        ValueError, match=r"a matrix of 10000000×10000000 needs 1490116\.1 GiB, found"
    ):
        covariance(torch.zeros(1, 1).expand(2, 10_000_000))
