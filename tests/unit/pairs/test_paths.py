"""Noise-sample pairs: which noises, and what is measured of their paths."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dansm.errors import InputError
from dansm.io.tables import PATH_COLUMNS, read_table
from dansm.pairs.paths import (
    PREFERABLE,
    RANDOM,
    Kind,
    PairDraws,
    measure_paths,
    read_pairs,
)

MATCHED = Kind("matched", "greedy", 40)


def test_matched_noises_are_of_all_of_a_pools_life():
    """The samples are alike, so the noise nearest of those left is the best of a shrinking pool."""
    sample = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))

    def noises(draws, count):
        samples = sample.expand(draws, count, 1, 4, 4).clone()
        return PairDraws(samples, models=(), match_sizes=(40,), seed=3).noises(MATCHED)

    pool = noises(1, 40)[0]
    lengths = (pool - sample).flatten(1).norm(dim=1)
    assert torch.equal(lengths, lengths.sort().values)
    assert len(lengths.unique()) == 40  # each noise once, the nearest first
    first, second = noises(2, 4)
    assert torch.equal(first, pool[[0, 10, 20, 30]])
    assert not torch.isin(second, pool).any()  # of a pool of its own
    # More samples than noises take several whole pools, as far as possible evenly: 0, 1, 3, 4 …
    assert torch.equal(noises(1, 60)[0][:27], pool[[k * 80 // 60 for k in range(27)]])


def test_random_noises_are_gaussian_and_their_own():
    pairs = PairDraws(torch.zeros(10, 50, 1, 4, 4), models=(0,) * 10, match_sizes=(20,), seed=3)
    noise = pairs.noises(RANDOM)
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(noise, pairs.noises(PREFERABLE))
    assert not torch.equal(noise, pairs._replace(seed=4).noises(RANDOM))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": np.zeros((2, 3, 4), np.float32)}, r"\(2, 3, 4\)"),
        ({"samples": np.full((1, 3, 1, 2, 2), np.nan, np.float32)}, "samples: expected finite"),
        ({"noise": np.zeros(3)}, "expected arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    arrays = {"samples": np.zeros((1, 3, 1, 2, 2), np.float32), "models": np.zeros(1, int)}
    arrays |= {"match_sizes": np.array([2]), "seed": np.array(0)}
    np.savez(tmp_path / "pairs.npz", **arrays | changes)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / "pairs.npz")
    with pytest.raises(InputError, match=r"none\.npz: expected .* found no file"):
        read_pairs(tmp_path / "none.npz")


def test_paths_are_measured_as_by_hand(tmp_path):
    samples = torch.randn(2, 7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pairs = PairDraws(samples, models=(6,) * len(samples), match_sizes=(20,), seed=3)
    measure_paths(pairs, [2, 3], "toy", tmp_path / "paths.csv")
    table = read_table(tmp_path / "paths.csv", PATH_COLUMNS)
    assert len(table) == 3 * 2 * (3 + 2)
    assert set(table["dataset"]) == {"toy"}
    for kind in pairs.kinds:
        noises = pairs.noises(kind).double().numpy().reshape(2, 7, 16)
        own = table[(table["kind"] == kind.name) & (table["match_size"] == kind.match_size)]
        assert set(own["coupling"]) == {kind.coupling}
        for draw in range(2):
            x, z = samples[draw].double().numpy().reshape(7, 16), noises[draw]
            rows = own[own["draw"] == draw]
            found = {(r.quantity, r.pairs): r.value for r in rows.itertuples()}
            # Distances of all paths to each other at many times.
            times = np.linspace(0, 1, 2001)[:, None, None]
            points = (1 - times) * z + times * x
            apart = np.array([cdist(at, at) for at in points]).min(0)
            average = apart.sum() / (7 * 6)
            np.fill_diagonal(apart, np.inf)
            assert found["path_length", 7] == pytest.approx(np.linalg.norm(x - z, axis=1).mean())
            assert found["inter_path_average", 7] == pytest.approx(average, rel=1e-4)
            assert found["inter_path_minimum", 7] == pytest.approx(apart.min(1).mean(), rel=1e-4)
            for size in (2, 3):
                nearest = []
                for first in range(0, 7 - size + 1, size):
                    part = slice(first, first + size)
                    nearest += list(cdist(x[part], z[part]).argmin(1) == np.arange(size))
                assert found["nearest_share", size] == pytest.approx(np.mean(nearest))
