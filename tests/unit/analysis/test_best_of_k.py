"""The best of k noises: as found among noises themselves, never above the bound."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from dansm.analysis.best_of_k import best_similarities, bound, measure_best_of_k
from dansm.config import BestOfK
from dansm.io.tables import BEST_OF_K_COLUMNS, read_table


def exact_mean(dimensions, k):
    """(1 + cosine) / 2 follows a beta distribution; the largest of k integrated over it."""
    half = (dimensions - 1) / 2

    def above(cosine):
        return 1 - beta.cdf((1 + cosine) / 2, half, half) ** k

    return quad(above, -1, 1, limit=200)[0] - 1


@pytest.mark.parametrize("dimensions", [2, 5, 64])
def test_the_best_is_that_among_noises_themselves(dimensions):
    counts, draws = [1, 4, 30], 600
    found = best_similarities(dimensions, counts, draws, np.random.default_rng(0))
    assert found.shape == (draws, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    rng = np.random.default_rng(1)
    noises = rng.standard_normal((draws, 30, dimensions))
    directions = rng.standard_normal((draws, dimensions))
    cosines = np.einsum("nkd,nd->nk", noises, directions)
    cosines /= np.linalg.norm(noises, axis=2) * np.linalg.norm(directions, axis=1)[:, None]
    for column, k in enumerate(counts):
        by_hand = cosines[:, :k].max(1)
        error = math.hypot(found[:, column].std(), by_hand.std()) / math.sqrt(draws)
        assert abs(found[:, column].mean() - by_hand.mean()) < 4 * error
        exact = exact_mean(dimensions, k)
        assert abs(found[:, column].mean() - exact) < 4 * found[:, column].std() / draws**0.5
        assert exact <= bound(dimensions, k) + 1e-9


def test_a_similarity_takes_exponentially_many_noises():
    for dimensions in (64, 4096):
        k = math.exp(dimensions * 0.1**2 / 2)
        assert bound(dimensions, k) == pytest.approx(0.1)
    assert bound(2, 10) == 1  # no cosine is larger


def test_the_table_holds_means_errors_and_bounds(tmp_path):
    settings = BestOfK(dimensions=[3, 50], counts=[1, 20], draws=40, seed=2)
    measure_best_of_k(settings, tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv", BEST_OF_K_COLUMNS)
    assert list(zip(table["dimensions"], table["k"], strict=True)) == [
        (3, 1),
        (3, 20),
        (50, 1),
        (50, 20),
    ]
    for row in table.itertuples():
        assert abs(row.similarity - exact_mean(row.dimensions, row.k)) < 5 * row.standard_error
        assert 0.2 / 50**0.5 / 40**0.5 < row.standard_error < 1.2 / 3**0.5 / 40**0.5
        assert row.bound == pytest.approx(min(1, math.sqrt(2 * math.log(row.k) / row.dimensions)))
