"""Reference features: gathered in batches, summarised exactly, checked when read."""

import numpy as np
import pytest

from dansm.errors import InputError
from dansm.metrics.statistics import ReferenceFeatures


def test_reference_features_have_mean_and_unbiased_covariance(tmp_path):
    features = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32) + 100
    reference = ReferenceFeatures.of(features, "an extractor")
    mean = features.astype(np.float64).sum(axis=0) / 50
    centred = features.astype(np.float64) - mean
    np.testing.assert_allclose(reference.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(reference.covariance, centred.T @ centred / 49, rtol=1e-10)
    np.testing.assert_allclose(reference.root @ reference.root, reference.covariance, rtol=1e-10)
    reference.save(tmp_path / "r.npz")
    loaded = ReferenceFeatures.load(tmp_path / "r.npz", "an extractor")
    assert loaded.count == 50
    for name in ("features", "mean", "covariance"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(reference, name))


@pytest.mark.parametrize("sizes", [[50], [1, 49], [20, 20, 10], [49, 1]])
def test_batches_gather_to_the_whole(monkeypatch, sizes):
    monkeypatch.setattr("dansm.metrics.statistics.KEPT_FEATURES", 12)
    features = np.random.default_rng(0).standard_normal((50, 4)) + 100
    batches = np.split(features, np.cumsum(sizes)[:-1])
    found, whole = ReferenceFeatures.gather(batches, 50, ""), ReferenceFeatures.of(features)
    np.testing.assert_allclose(found.mean, features.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(features.T), rtol=1e-10)
    np.testing.assert_array_equal(found.features, whole.features)
    rows = [int(np.flatnonzero((features == row).all(axis=1)).item()) for row in found.features]
    assert len(set(rows)) == 12 and rows == sorted(rows)
    assert max(rows) > 20  # a random subset, not the first rows


def replaced(**arrays):
    """Damage that puts other arrays into the file."""

    def damage(path):
        with np.load(path) as file:
            content = dict(file)
        np.savez(path, **content | arrays)

    return damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "expected reference features, found no file"),
        (lambda path: path.write_bytes(b""), "expected reference features, found"),
        (lambda path: path.write_text("hello"), "expected reference features, found"),
        (lambda path: np.savez(path, other=np.zeros(3)), "expected reference features with"),
        (replaced(features=np.full((50, 4), np.nan)), "features: expected finite"),
        (replaced(covariance=np.full((4, 4), np.inf)), "covariance: expected finite"),
        (replaced(covariance=np.eye(3)), r"found shapes \(4,\), \(3, 3\) and \(50, 4\)"),
        (replaced(features=np.zeros((50, 5))), r"found shapes \(4,\), \(4, 4\) and \(50, 5\)"),
        (replaced(features=np.zeros(3)), r"found shapes \(4,\), \(4, 4\) and \(3,\)"),
        (replaced(extractor="b"), "expected features of a, found those of b"),
        (cut, "expected reference features, found"),
        (flip, "expected reference features, found"),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "other",
        "nan",
        "infinite",
        "small",
        "wide",
        "1-d",
        "extractor",
        "cut short",
        "flipped bit",
    ],
)
def test_damaged_reference_features_are_refused(tmp_path, damage, message):
    path = tmp_path / "r.npz"
    ReferenceFeatures.of(np.random.default_rng(0).standard_normal((50, 4)), "a").save(path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        ReferenceFeatures.load(path, "a")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rows", [7, 1000])
def test_radii_reach_the_third_nearest_other(monkeypatch, rows):
    monkeypatch.setattr("dansm.metrics.statistics._BLOCK_ROWS", rows)
    features = np.random.default_rng(0).standard_normal((40, 3))
    distances = np.linalg.norm(features[:, None] - features, axis=2)
    expected = np.sort(distances, axis=1)[:, 3]
    np.testing.assert_allclose(ReferenceFeatures.of(features).radii, expected, rtol=1e-10)
