import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from dansm.geometry import nearest_in_batch, path_length, path_separation

SHAPES = [(6, 3), (5, 2, 4), (4, 2, 3, 3)]


def normal(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_path_length_is_the_euclidean_distance(shape):
    x, z = normal(shape, 0), normal(shape, 1)
    expected = [np.sqrt(((a - b).numpy() ** 2).sum()) for a, b in zip(x, z, strict=True)]
    np.testing.assert_allclose(path_length(x, z), expected, rtol=1e-12)


@pytest.mark.parametrize("block", [1, 4, 100])
@pytest.mark.parametrize("shape", [(9, 3), (9, 2, 3, 3)])
@pytest.mark.parametrize("push", [0.0, 3.0], ids=["inner minimum", "minimum often at an end"])
def test_separation_is_the_minimum_over_time_of_every_two_paths(shape, block, push):
    x, z = normal(shape, 0), normal(shape, 1)
    x[4:] += push  # moves some paths away over time
    n = len(x)
    pairs = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in set(range(n)) - {i}:

            def distance(t, i=i, j=j):
                return float(torch.linalg.vector_norm((1 - t) * (z[i] - z[j]) + t * (x[i] - x[j])))

            inner = minimize_scalar(distance, bounds=(0, 1), options={"xatol": 1e-10}).fun
            pairs[i, j] = min(inner, distance(0), distance(1))
    found = path_separation(x, z, block)
    np.testing.assert_allclose(found.average, pairs.sum(1) / (n - 1), rtol=1e-7)
    np.testing.assert_allclose(found.minimum, (pairs + 1e9 * torch.eye(n)).amin(1), rtol=1e-7)


@pytest.mark.parametrize(
    ("other_z", "other_x", "expected"),
    [
        ([1.0, 0.0], [0.0, 1.0], 0.0),  # crossing at the same time
        ([0.0, 2.0], [1.0, 3.0], 2.0),  # parallel
        ([3.0, 4.0], [9.0, 4.0], 5.0),  # moving apart
        ([0.0, 0.0], [1.0, 1.0], 0.0),  # identical
    ],
)
def test_separation_of_two_known_paths(other_z, other_x, expected):
    found = path_separation(torch.tensor([[1.0, 1.0], other_x]), torch.tensor([[0, 0], other_z]))
    np.testing.assert_allclose(torch.cat(found), [expected] * 4, atol=1e-7)


def test_separation_of_parallel_and_of_crossing_paths():
    z = torch.tensor([[0.0, 0.0], [0.0, 2.0], [5.0, 1.0]])
    x = torch.tensor([[4.0, 0.0], [4.0, 2.0], [-1.0, 1.0]])
    found = path_separation(x, z)
    # The third meets the middle between the two parallel ones at t = 1/2, at distance 1 of each.
    np.testing.assert_allclose(found.minimum, [1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(found.average, [1.5, 1.5, 1], atol=1e-6)


@pytest.mark.parametrize("shapes", [((3, 2), (4, 2)), ((1, 2), (1, 2)), ((3, 2), (3, 4))])
def test_separation_refuses_what_has_no_pairs(shapes):
    with pytest.raises(ValueError, match="expected samples and noise of one shape"):
        path_separation(torch.zeros(shapes[0]), torch.zeros(shapes[1]))


def test_nearest_in_batch_against_a_loop():
    x, z = normal((20, 2, 2), 0), normal((20, 2, 2), 1)
    z[:7] = x[:7] + 0.01
    expected = [
        all((x[i] - z[i]).norm() <= (x[i] - z[j]).norm() for j in range(20)) for i in range(20)
    ]
    assert nearest_in_batch(x, z).tolist() == expected
    assert sum(expected) >= 7
