"""Reproducibility: correlations by numpy's own, intervals that hold what they should."""

import numpy as np
import pytest

from dansm.analysis.reproducibility import (
    RunImages,
    bootstrap,
    measure_reproducibility,
    similarities,
)
from dansm.errors import InputError
from dansm.io.tables import REPRODUCIBILITY_COLUMNS, read_table


def images(seed, n=12, shape=(1, 4, 5)):
    return np.random.default_rng(seed).integers(0, 17, (n, *shape), dtype=np.uint8)


def test_similarities_are_correlations_without_the_mean_image():
    a, b = images(0), images(1)
    found = similarities(a, b)
    assert found.shape == (12, 12)
    for i in range(12):
        for j in range(12):
            x = a[i].astype(float) - a.astype(float).mean(0)
            y = b[j].astype(float) - b.astype(float).mean(0)
            expected = np.corrcoef(x.ravel(), y.ravel())[0, 1]
            assert found[i, j] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(similarities(a, a).diagonal(), 1)
    # What all images of a model share does not count.
    shift = np.arange(20, dtype=float).reshape(1, 4, 5) ** 2
    np.testing.assert_allclose(similarities(a, b + shift), found, atol=1e-12)
    assert (similarities(a, np.full_like(a, 3)) == 0).all()


def test_bootstrap_means_are_of_same_and_of_other_noises():
    correlations = similarities(images(0), images(1)) + np.eye(12)
    same, different = bootstrap(correlations, seed=0)
    off = ~np.eye(12, dtype=bool)
    assert same.mean == pytest.approx(correlations.diagonal().mean())
    assert different.mean == pytest.approx(correlations[off].mean())
    assert same.low < same.mean < same.high and different.low < different.mean < different.high
    # As resampled one by one.
    rng = np.random.default_rng(1)
    means, others = [], []
    for _ in range(4000):
        rows = rng.integers(12, size=12)
        means.append(correlations[rows, rows].mean())
        apart = rows[:, None] != rows
        others.append(correlations[np.ix_(rows, rows)][apart].mean())
    assert [same.low, same.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    quantiles = np.quantile(others, [0.025, 0.975])
    assert [different.low, different.high] == pytest.approx(quantiles, abs=0.02)


def test_every_two_runs_are_compared(tmp_path):
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **{"euler-100": images(number // 2)})
        files.append(
            RunImages(
                "vanilla", "rectified_flow", "independent", 0, number, str(path), "euler", 100
            )
        )
    measure_reproducibility(files, "toy", tmp_path / "table.csv")
    table = read_table(tmp_path / "table.csv", REPRODUCIBILITY_COLUMNS)
    assert set(table["run_a"]) | set(table["run_b"]) == {"vanilla"}
    assert list(zip(table["seed_a"], table["seed_b"], strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert table["similarity"][0] == pytest.approx(1)  # the same images
    assert (table["images"] == 12).all() and (table["dataset"] == "toy").all()
    expected = similarities(images(0), images(1))
    assert table["similarity"][1] == pytest.approx(expected.diagonal().mean())
    assert table["similarity"][1] < 0.5
    np.savez(tmp_path / "2.npz", **{"euler-100": images(2, n=9)})
    with pytest.raises(
        InputError, match=r"2\.npz: expected images of shape \(12, .* as in .*0\.npz"
    ):
        measure_reproducibility(files, "toy", tmp_path / "table.csv")
    np.savez(tmp_path / "2.npz", **{"euler-10": images(2)})
    with pytest.raises(
        InputError, match=r"2\.npz: expected images euler-100, found \['euler-10'\]"
    ):
        measure_reproducibility(files, "toy", tmp_path / "table.csv")
    np.savez(tmp_path / "2.npz", **{"euler-100": images(2, n=1)})
    with pytest.raises(InputError, match="expected at least 2 images"):
        measure_reproducibility(files, "toy", tmp_path / "table.csv")
    (tmp_path / "2.npz").unlink()
    with pytest.raises(InputError, match=r"2\.npz: .* found no file"):
        measure_reproducibility(files, "toy", tmp_path / "table.csv")
