import numpy as np
import pytest

from dansm.evaluation.distances import frechet_distance, kernel_distance
from dansm.evaluation.features import ReferenceFeatures


def features(n, d, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + shift


def symmetric_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def frechet_by_eigenvalues(x, y):
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁^½ Σ₂ Σ₁^½)^½), with symmetric roots only."""
    a, b = np.cov(x.T), np.cov(y.T)
    root = symmetric_root(a)
    cross = np.sqrt(np.linalg.eigvalsh(root @ b @ root).clip(0)).sum()
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross


@pytest.mark.parametrize(("n", "m", "d"), [(50, 80, 2), (200, 300, 16), (100, 60, 40)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_frechet_distance_is_the_closed_form(n, m, d, shift):
    x, y = features(n, d, 0, shift), features(m, d, 1)
    expected = frechet_by_eigenvalues(x, y)
    assert frechet_distance(x, ReferenceFeatures.of(y)) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(y, ReferenceFeatures.of(x)) == pytest.approx(expected, rel=1e-6)


def standardised(n, d):
    """Samples with mean exactly 0 and covariance exactly the identity."""
    x = np.random.default_rng(0).standard_normal((n, d))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def test_frechet_distance_of_separable_gaussians():
    x = standardised(60, 3)
    mean_1, mean_2 = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 2.0])
    sigma_1, sigma_2 = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 1.0])
    reference = ReferenceFeatures.of(mean_2 + sigma_2 * x)
    expected = ((mean_1 - mean_2) ** 2 + (sigma_1 - sigma_2) ** 2).sum()
    assert frechet_distance(mean_1 + sigma_1 * x, reference) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(100, 8), (40, 64)], ids=["regular", "fewer than features"])
def test_frechet_distance_to_itself_is_zero(n, d):
    x = features(n, d, 0)
    scale = np.trace(np.cov(x.T))
    assert abs(frechet_distance(x, ReferenceFeatures.of(x))) < 1e-5 * scale


def test_a_dead_feature_does_no_harm():
    x, y = features(100, 5, 0), features(100, 5, 1)
    x[:, 2] = y[:, 2] = 0
    expected = frechet_by_eigenvalues(x, y)
    assert frechet_distance(x, ReferenceFeatures.of(y)) == pytest.approx(expected, rel=1e-6)


def mmd(x, y):
    """Unbiased squared MMD with the kernel (a·b/d + 1)³, term by term."""
    d = x.shape[1]

    def kernel(a, b):
        return (a @ b.T / d + 1) ** 3

    n, m = len(x), len(y)
    within_x = (kernel(x, x).sum() - np.trace(kernel(x, x))) / (n * (n - 1))
    within_y = (kernel(y, y).sum() - np.trace(kernel(y, y))) / (m * (m - 1))
    return within_x + within_y - 2 * kernel(x, y).mean()


def test_kernel_distance_of_sets_that_fit_one_subset_is_the_unbiased_mmd():
    x, y = features(120, 6, 0, 0.5), features(120, 6, 1)
    found = kernel_distance(x, ReferenceFeatures.of(y))
    assert found == pytest.approx(mmd(x, y), rel=1e-9)


def test_kernel_distance_of_larger_sets_is_the_mmd_up_to_sampling_noise():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((1500, 4)) + 0.5, rng.standard_normal((1300, 4))
    found, expected = kernel_distance(x, ReferenceFeatures.of(y)), mmd(x, y)
    assert expected > 0.1
    assert found == pytest.approx(expected, rel=0.1)


def test_kernel_distance_of_one_distribution_is_about_zero():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 500, 4))
    assert abs(kernel_distance(x, ReferenceFeatures.of(y))) < 0.02


def test_kernel_distance_is_repeatable_and_leaves_numpys_generator_alone():
    x, y = features(300, 4, 0), ReferenceFeatures.of(features(200, 4, 1))
    np.random.seed(1)
    before = np.random.get_state()
    first = kernel_distance(x, y)
    after = np.random.get_state()
    np.testing.assert_array_equal(after[1], before[1])
    assert after[2:] == before[2:]
    np.random.seed(2)
    assert kernel_distance(x, y) == first


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    "bad", [np.full((5, 3), np.nan), np.full((5, 3), np.inf), np.zeros((1, 3)), np.zeros(5)]
)
def test_unsuitable_features_are_refused(distance, bad):
    reference = ReferenceFeatures.of(features(20, 3, 0))
    with pytest.raises(ValueError, match="at least two finite rows, found shape"):
        distance(bad, reference)
