"""Crossings: counted as solved by hand, of pairs of their own, of the t-SNE that is stored."""

import numpy as np
import pytest
import torch

from dansm.errors import InputError
from dansm.io.tables import CROSSING_COLUMNS, read_table
from dansm.pairs.crossings import count_crossings, crossings_of
from dansm.pairs.paths import PairDraws

SAMPLES = torch.randn(2, 8, 1, 4, 4, generator=torch.Generator().manual_seed(0))
PAIRS = PairDraws(SAMPLES, models=(4,) * len(SAMPLES), match_sizes=(20,), seed=3)


def test_every_kind_is_embedded_as_often_as_asked(tmp_path):
    files = {"path": tmp_path / "crossings.csv", "embedding": tmp_path / "tsne.npz"}
    options = {"pairs": 4, "perplexity": 3.0, "dataset": "toy"}
    with pytest.raises(InputError, match="expected 5 times 4 of them, found 2 draws of 8"):
        count_crossings(PAIRS, embeddings=5, **options, **files)
    count_crossings(PAIRS, embeddings=3, **options, **files)
    table = read_table(files["path"], CROSSING_COLUMNS)
    kinds = [("random", 0), ("matched", 20), ("preferable", 0)]
    found = list(zip(table["kind"], table["match_size"], table["draw"], strict=True))
    assert found == [(*kind, draw) for kind in kinds for draw in range(3)]
    assert table["crossings"].between(0, 6).all()
    assert set(table["pairs"]) == {4} and set(table["perplexity"]) == {3.0}
    with np.load(files["embedding"]) as file:
        assert sorted(file) == ["matched-20", "preferable-0", "random-0"]
        for name, size in kinds:
            samples, noises = file[f"{name}-{size}"]
            assert samples.shape == (4, 2)
            shown = table[(table["kind"] == name) & (table["draw"] == 0)]
            assert shown["crossings"].item() == crossings_of(noises, samples)
    before = files["path"].read_bytes()
    count_crossings(PAIRS, embeddings=3, **options, **files)
    assert files["path"].read_bytes() == before


def test_no_pair_is_embedded_twice(tmp_path, monkeypatch):
    seen = []

    class Kept:
        def __init__(self, **options):
            assert options["perplexity"] == 3.0

        def fit_transform(self, points):
            seen.append(points.copy())
            return points[:, :2]

    monkeypatch.setattr("sklearn.manifold.TSNE", Kept)
    count_crossings(
        PAIRS,
        pairs=4,
        perplexity=3.0,
        embeddings=4,
        dataset="toy",
        path=tmp_path / "crossings.csv",
        embedding=tmp_path / "tsne.npz",
    )
    for number, kind in enumerate(PAIRS.kinds):
        points = np.array(seen[4 * number : 4 * number + 4])
        samples, noises = points[:, :4].reshape(16, 16), points[:, 4:].reshape(16, 16)
        own, theirs = (v.reshape(16, 16).numpy() for v in (SAMPLES, PAIRS.noises(kind)))
        order = [int(np.flatnonzero((own == row).all(1)).item()) for row in samples]
        assert sorted(order) == list(range(16))
        np.testing.assert_array_equal(noises, theirs[order])


def test_crossings_against_solved_intersections():
    rng = np.random.default_rng(0)
    starts, ends = rng.uniform(size=(2, 25, 2))
    expected = 0
    for i in range(25):
        for j in range(i):
            matrix = np.stack([ends[i] - starts[i], starts[j] - ends[j]], axis=1)
            s, t = np.linalg.solve(matrix, starts[j] - starts[i])
            expected += 0 < s < 1 and 0 < t < 1
    assert expected > 20
    assert crossings_of(starts, ends) == expected


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
def test_crossings_of_known_segments(starts, ends, crossings):
    assert crossings_of(np.array(starts, float), np.array(ends, float)) == crossings
