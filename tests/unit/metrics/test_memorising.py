"""Memorising: what generators of known honesty get, and neighbours against brute force."""

import numpy as np
import pytest
import torch

from dansm.metrics import memorising
from dansm.metrics.memorising import (
    RealImages,
    copies,
    measure_memorising,
    nearer_to_training,
    nearest,
    real_pixels,
)


def digits(count, seed, d=6):
    """Points of many shapes: a mixture of three Gaussians of unequal width."""
    rng = np.random.default_rng(seed)
    centres, width = 4 * np.eye(3, d), np.array([0.5, 1.0, 2.0])
    kind = rng.integers(3, size=count)
    return (centres[kind] + width[kind, None] * rng.standard_normal((count, d))).astype(np.float32)


def shares(generated, real):
    found = real.compare(torch.from_numpy(generated))
    return nearer_to_training(found, real), copies(found, real)


def test_a_generator_that_returns_training_images_is_seen():
    real = RealImages("pixels", digits(300, 0), digits(300, 1))
    assert shares(real.training[:200], real) == (1, 1)
    assert shares(real.held_out[:200], real) == (0, 0)


def test_copies_of_training_images_beyond_the_equal_numbers_are_seen():
    real = RealImages("pixels", digits(2000, 0), digits(500, 1))
    share, copied = shares(real.training, real)
    assert copied == 1
    assert 0.55 < share < 0.7  # 1 for a quarter, about one half for the rest


def test_copies_with_noise_are_fewer_the_more_noise_there_is():
    real = RealImages("pixels", digits(400, 0), digits(400, 1))
    noise = np.random.default_rng(2).standard_normal(real.training.shape).astype(np.float32)
    found = [shares(real.training + scale * noise, real) for scale in (0.05, 0.4, 3.0)]
    assert found[0][0] > 0.99 and found[0][1] > 0.95
    assert found == sorted(found, reverse=True)
    assert found[-1][0] < 0.6


@pytest.mark.parametrize(("n", "m"), [(200, 200), (600, 200), (200, 600)])
@pytest.mark.parametrize("blur", [1.0, 0.3], ids=["sharp", "near the mean"])
def test_an_honest_generator_gets_one_half_within_its_standard_error(n, m, blur):
    """Blurred images too, which are nearer to all images than held-out ones are."""
    studies = []
    for k in range(150):
        real = RealImages("pixels", digits(n, 3 * k), digits(m, 3 * k + 1))
        studies.append(shares(blur * digits(100, 3 * k + 2), real))
    share, copied = np.array(studies).T
    assert abs(share.mean() - 0.5) < 3 * share.std(ddof=1) / len(share) ** 0.5
    limit = 3 * copied.std(ddof=1) / len(copied) ** 0.5
    assert copied.mean() < memorising.COPIES + limit + 0.01


def test_held_out_images_get_one_half_and_the_share_of_copies_that_defines_them():
    found = []
    for k in range(60):
        real = RealImages("pixels", digits(150, 2 * k), digits(100, 2 * k + 1))
        measured = {row.metric: row for row in measure_memorising(real.of_held_out, real)}
        assert measured["copies"].value == memorising.COPIES
        assert {row.n_samples for row in measured.values()} == {100}
        found.append(measured["nearer_to_training"].value)
    assert abs(np.mean(found) - 0.5) < 3 * np.std(found, ddof=1) / len(found) ** 0.5


def test_neighbours_are_those_of_brute_force(monkeypatch):
    """Ratios and rows, for unequal numbers; whole or in blocks."""
    rng = np.random.default_rng(0)
    points, training, held_out = (
        rng.integers(0, 256, (count, 12), dtype=np.uint8) for count in (40, 90, 50)
    )
    away = np.linalg.norm(points[:, None].astype(float) - training.astype(float), axis=2)
    expected = away.argmin(axis=1), away.min(axis=1)
    every = np.arange(90)
    for block in (4096, 7, 1):
        monkeypatch.setattr(memorising, "_BLOCK", block)
        rows, distances = nearest(torch.from_numpy(points), training, every)
        np.testing.assert_array_equal(rows, expected[0])
        np.testing.assert_allclose(distances, expected[1], rtol=1e-12)
        found = RealImages("pixels", training, held_out).compare(torch.from_numpy(points))
        np.testing.assert_array_equal(found.training.rows, expected[0])
        chosen = np.isin(found.equal.rows, found.training.rows)
        assert chosen.any() and (found.equal.distances >= found.training.distances).all()
        of_held_out = np.linalg.norm(points[:, None].astype(float) - held_out, axis=2).min(axis=1)
        np.testing.assert_allclose(found.held_out.distances, of_held_out, rtol=1e-12)


def test_held_out_images_are_not_their_own_neighbours():
    held_out = digits(30, 1)
    real = RealImages("pixels", digits(30, 0), held_out)
    found = real.of_held_out.held_out
    away = np.linalg.norm(held_out[:, None].astype(float) - held_out, axis=2)
    np.fill_diagonal(away, np.inf)
    np.testing.assert_allclose(np.sort(found.distances), np.sort(away.min(axis=1)), rtol=1e-6)


def test_a_tiny_distance_between_large_numbers_is_exact():
    others = np.full((3, 4), 3e4, np.float32)
    others[:, 0] += np.array([0.25, 64, 128], np.float32)
    rows, distances = nearest(torch.full((1, 4), 3e4), others, np.arange(3))
    assert (rows.item(), distances.item()) == (0, 0.25)


def test_images_as_near_to_both_count_half_and_are_no_copies():
    points = np.array([[0.0], [10], [20], [30]], np.float32)
    real = RealImages("pixels", points - 1, points + 1)
    share, _ = shares(points, real)
    assert share == 0.5
    found = real.compare(torch.from_numpy(points))
    assert found.ratios.tolist() == [1, 1, 1, 1]
    both = RealImages("pixels", points, points).compare(torch.from_numpy(points))
    assert both.ratios.tolist() == [1, 1, 1, 1]  # where both distances are 0


def test_pixels_of_stores_are_compared_as_they_are_or_averaged(make_store, monkeypatch):
    monkeypatch.setattr(memorising, "SEARCHED", 30)
    rng = np.random.default_rng(0)
    training, held_out = (rng.integers(0, 17, (n, 1, 4, 4), dtype=np.uint8) for n in (40, 20))
    real = real_pixels(*(make_store(x, value_range=(0, 16)) for x in (training, held_out)))
    assert real.training.dtype == np.uint8
    assert [len(rows) for rows in real.rows] == [30, 20]
    np.testing.assert_array_equal(real.training, training[real.rows[0]].reshape(30, 16))
    monkeypatch.setattr(memorising, "SIDE", 2)
    found = memorising.pixels(torch.from_numpy(training))
    expected = training.reshape(40, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(40, 4)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), [(1, 5, 3), (5, 1, 3), (5, 5, 4)])
def test_too_few_or_other_points_are_refused(n, m, d):
    with pytest.raises(ValueError, match=r"pixels: expected \(n, d\) and \(m, d\), n and m > 1"):
        RealImages("pixels", np.zeros((n, 3)), np.zeros((m, d)))
