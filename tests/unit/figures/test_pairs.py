"""Noise-sample pairs: the crossings counted are those of the lines drawn."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from dansm.errors import InputError
from dansm.figures import noise_sample_tsne, read_pairs
from dansm.figures.pairs import NoiseSamplePairs, count_crossings


def test_crossings_in_titles_are_those_of_the_drawn_segments(tmp_path):
    samples, random, matched = np.random.default_rng(0).normal(size=(3, 2, 12, 1, 4, 4))
    path = tmp_path / "pairs.npz"
    arrays = {"samples": samples, "random": random, "match_size": 100}
    np.savez(path, **arrays, matched=matched[:, :5])
    with pytest.raises(InputError, match=r"pairs\.npz: expected arrays of one shape"):
        read_pairs(path)
    np.savez(path, **arrays, matched=matched)
    pairs = read_pairs(path)
    assert isinstance(pairs, NoiseSamplePairs)
    with pytest.raises(InputError, match="perplexity: expected less than 24"):
        noise_sample_tsne(pairs, dataset="d", perplexity=24)
    figure = noise_sample_tsne(pairs, dataset="d", perplexity=8)
    for axes in figure.axes:
        (lines,) = [c for c in axes.collections if isinstance(c, LineCollection)]
        segments = np.array(lines.get_segments())
        assert len(segments) == 12
        crossings = count_crossings(segments[:, 0], segments[:, 1])
        assert f"\n{crossings} crossings (mean ± sd of 2 draws" in axes.get_title()


def test_count_crossings_against_solved_intersections():
    rng = np.random.default_rng(0)
    starts, ends = rng.uniform(size=(2, 25, 2))
    expected = 0
    for i in range(25):
        for j in range(i):
            matrix = np.stack([ends[i] - starts[i], starts[j] - ends[j]], axis=1)
            s, t = np.linalg.solve(matrix, starts[j] - starts[i])
            expected += 0 < s < 1 and 0 < t < 1
    assert expected > 20
    assert count_crossings(starts, ends) == expected


@pytest.mark.parametrize(
    ("starts", "ends", "crossings"),
    [
        ([[0, 0], [0, 1]], [[1, 1], [1, 0]], 1),
        ([[0, 0], [0, 1]], [[1, 0], [1, 1]], 0),
        ([[0, 0], [0, 0]], [[1, 1], [1, 0]], 0),
        ([[0, 0], [0.5, 0]], [[1, 0], [0.5, 1]], 0),
        ([[0, 0]], [[1, 1]], 0),
    ],
    ids=["cross", "parallel", "common end", "touch", "alone"],
)
def test_count_crossings_of_known_segments(starts, ends, crossings):
    assert count_crossings(np.array(starts, float), np.array(ends, float)) == crossings
