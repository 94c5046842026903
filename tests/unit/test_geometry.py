import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from dansm.geometry import inter_path_distance, path_length

SHAPES = [(6, 3), (5, 2, 4), (4, 2, 3, 3)]


def normal(shape, seed, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_path_length_is_the_euclidean_distance(shape):
    x, z = normal(shape, 0), normal(shape, 1)
    expected = [np.sqrt(((a - b).numpy() ** 2).sum()) for a, b in zip(x, z, strict=True)]
    np.testing.assert_allclose(path_length(x, z), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("push", [0.0, 3.0], ids=["inner minimum", "minimum often at an end"])
def test_inter_path_distance_is_the_minimum_over_time(shape, push):
    za, xa, zb, xb = (normal(shape, s) for s in range(4))
    xa = xa + push  # moves one path away over time
    found = inter_path_distance(za, xa, zb, xb)
    for i in range(len(za)):

        def distance(t, i=i):
            return float(torch.linalg.vector_norm((1 - t) * (za - zb)[i] + t * (xa - xb)[i]))

        inner = minimize_scalar(distance, bounds=(0, 1), options={"xatol": 1e-10}).fun
        assert float(found[i]) == pytest.approx(min(inner, distance(0), distance(1)), rel=1e-7)


def test_inter_path_distance_of_known_paths():
    z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    x = torch.tensor([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    other_z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    other_x = torch.tensor([[0.0, 1.0], [1.0, 2.0], [9.0, 4.0], [0.0, 0.0]])
    # crossing at the same time, parallel, moving apart, identical
    expected = torch.tensor([0.0, 2.0, 5.0, 0.0])
    torch.testing.assert_close(inter_path_distance(z, x, other_z, other_x), expected)
    torch.testing.assert_close(inter_path_distance(other_z, other_x, z, x), expected)
