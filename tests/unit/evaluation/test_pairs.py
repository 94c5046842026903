"""Noise-sample pairs of the t-SNE figure."""

import numpy as np
import pytest

from dansm.config import NoiseSamplePairs
from dansm.errors import InputError
from dansm.evaluation.pairs import draw_pairs

SETTINGS = NoiseSamplePairs(pairs=6, perplexity=4, match_size=200, draws=3, seed=1)


def test_matched_noises_are_nearer_and_draws_differ(make_store, tmp_path):
    array = np.random.default_rng(0).standard_normal((30, 2, 4, 4)).astype(np.float32)
    draw_pairs(SETTINGS, make_store(array), tmp_path / "pairs.npz")
    with np.load(tmp_path / "pairs.npz") as file:
        samples, random, matched = (file[name] for name in ("samples", "random", "matched"))
        assert file["match_size"] == 200
    assert samples.shape == random.shape == matched.shape == (3, 6, 2, 4, 4)
    rows = {row.tobytes() for row in array}
    assert all(sample.tobytes() in rows for draw in samples for sample in draw)

    def length(noise):
        return np.linalg.norm((samples - noise).reshape(3, 6, -1), axis=2).mean()

    assert length(matched) < length(random)
    assert not np.array_equal(random[0], random[1])


def test_a_store_too_small_is_named(make_store, tmp_path):
    store = make_store(np.zeros((5, 1, 2, 2), np.float32))
    with pytest.raises(InputError, match="expected 6 samples, found 5"):
        draw_pairs(SETTINGS, store, tmp_path / "pairs.npz")
