"""Each metric against its definition, and against other implementations on the same features."""

import sys
import types

import numpy as np
import pytest
import torch
from cleanfid.fid import frechet_distance as cleanfid_frechet_distance
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from dansm.catalogue import METRICS, MetricEntry
from dansm.metrics import distances
from dansm.metrics.distances import measure
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.statistics import ReferenceFeatures


def found_in(features, probabilities=None):
    """What an extractor finds, of which a metric needs one or the other."""
    return Features(features, probabilities)


def frechet_distance(features, reference):
    return distances.frechet_distance(found_in(features), reference)


def kernel_distance(features, reference):
    return distances.kernel_distance(found_in(features), reference)


def precision_recall(features, reference):
    found = found_in(features)
    return distances.precision(found, reference), distances.recall(found, reference)


def classifier_score(probabilities):
    return distances.classifier_score(found_in(None, probabilities), None)


def features(n, d, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + shift


def frechet_by_clean_fid(x, y):
    return cleanfid_frechet_distance(x.mean(0), np.cov(x.T), y.mean(0), np.cov(y.T))


def frechet_by_torch_fidelity(x, y):
    statistics = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (x, y)]
    return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]


@pytest.mark.parametrize(("n", "m", "d"), [(50, 80, 2), (200, 300, 16), (500, 400, 128)])
@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("theirs", [frechet_by_clean_fid, frechet_by_torch_fidelity])
def test_frechet_distance_is_that_of_other_implementations(n, m, d, shift, theirs):
    x, y = features(n, d, 0, shift), features(m, d, 1)
    expected = theirs(x, y)
    assert frechet_distance(x, ReferenceFeatures.of(y)) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(y, ReferenceFeatures.of(x)) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_fewer_images_than_features_is_that_of_torch_fidelity():
    x, y = features(30, 64, 0), features(300, 64, 1)
    expected = frechet_by_torch_fidelity(x, y)
    assert frechet_distance(x, ReferenceFeatures.of(y)) == pytest.approx(expected, rel=1e-5)


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
    expected = frechet_distance(np.delete(x, 2, 1), ReferenceFeatures.of(np.delete(y, 2, 1)))
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


def test_kernel_distance_is_that_of_torch_fidelity():
    x, y = features(150, 6, 0, 0.5), features(120, 6, 1)
    both = [torch.from_numpy(rows) for rows in (x, y)]
    # One subset of all: which images a smaller one takes is each implementation's own.
    theirs = kid_features_to_metric(
        both[0][:120],
        both[1],
        kid_subsets=1,
        kid_subset_size=120,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=0,
        verbose=False,
    )["kernel_inception_distance_mean"]
    assert kernel_distance(x[:120], ReferenceFeatures.of(y)) == pytest.approx(theirs, rel=1e-9)


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


def test_kernel_distance_is_repeatable_and_leaves_the_global_generators_alone():
    x, y = features(300, 4, 0), ReferenceFeatures.of(features(200, 4, 1))
    states = [np.random.get_state()[1].copy(), torch.get_rng_state()]
    first = kernel_distance(x, y)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])
    assert torch.equal(torch.get_rng_state(), states[1])
    torch.manual_seed(2)
    assert kernel_distance(x, y) == first


def covered_by_hand(points, others, k=3):
    """The share of points within some other's distance to its k-th nearest neighbour."""
    count = 0
    for point in points:
        for i, other in enumerate(others):
            away = np.sort([np.linalg.norm(other - o) for j, o in enumerate(others) if j != i])
            if np.linalg.norm(point - other) <= away[k - 1]:
                count += 1
                break
    return count / len(points)


def test_precision_and_recall_are_what_they_are_defined_as():
    x, y = features(40, 3, 0, 0.7), features(55, 3, 1)
    expected = covered_by_hand(x, y), covered_by_hand(y, x)
    assert min(expected) > 0 and max(expected) < 1
    assert precision_recall(x, ReferenceFeatures.of(y)) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m", "d"), [(300, 300, 4), (250, 420, 8), (310, 200, 2048)])
@pytest.mark.parametrize("rows", [64, 1000])
def test_precision_and_recall_are_those_of_torch_fidelity(monkeypatch, n, m, d, rows):
    monkeypatch.setattr("dansm.metrics.statistics._BLOCK_ROWS", rows)
    rng = np.random.default_rng(0)
    x, y = 0.8 * rng.standard_normal((n, d)) + 0.01, rng.standard_normal((m, d))
    theirs = prc_features_to_metric(
        torch.from_numpy(x),
        torch.from_numpy(y),
        prc_neighborhood=3,
        prc_batch_size=100,
        save_cpu_ram=True,
        verbose=False,
    )
    found = precision_recall(x, ReferenceFeatures.of(y))
    assert found[0] != found[1]
    # torch-fidelity averages in float32.
    assert found == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def test_precision_and_recall_of_known_sets():
    grid = np.stack(np.meshgrid(*[np.arange(6.0)] * 2), axis=-1).reshape(-1, 2)
    real = ReferenceFeatures.of(grid)
    assert precision_recall(grid, real) == (1, 1)
    assert precision_recall(grid + 100, real) == (0, 0)
    half = grid[grid[:, 0] < 2]  # good images of a part: precise, without full recall
    precision, recall = precision_recall(half, real)
    assert precision == 1 and 0 < recall < 1


@pytest.mark.parametrize("classes", [10, 1008])
def test_the_classifier_score_is_torch_fidelitys(classes):
    logits = 3 * torch.from_numpy(np.random.default_rng(0).standard_normal((1000, classes)))
    # Its parts are consecutive rows; ours are every tenth.
    parts = torch.cat([logits[first::10] for first in range(10)])
    theirs = isc_features_to_metric(parts, splits=10, shuffle=False)["inception_score_mean"]
    found = classifier_score(logits.softmax(dim=1).numpy())
    assert found == pytest.approx(theirs, rel=1e-9)


def test_the_classifier_score_of_known_sets():
    sure = np.eye(5).repeat(20, axis=0)  # sorted by class, and with zeros
    assert classifier_score(sure) == pytest.approx(5)
    assert classifier_score(sure[:20]) == pytest.approx(1)
    assert classifier_score(np.full((40, 5), 0.2)) == pytest.approx(1)
    assert classifier_score(np.eye(5)) == pytest.approx(1)  # parts of one image


def test_everything_is_measured_on_what_it_is_said_to(monkeypatch):
    monkeypatch.setattr(distances, "KEPT_FEATURES", 30)
    x, y = features(50, 3, 0), ReferenceFeatures.of(features(40, 3, 1))
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    extractor = Extractor("inception_clean", "0", torch.device("cpu"), lambda images: (images,) * 2)
    found = measure(Features(x, probabilities), y, extractor, everything=True)
    precision, recall = precision_recall(x[:30], y)
    assert found == [
        ("frechet_distance", frechet_distance(x, y), 50),
        ("kernel_distance", kernel_distance(x, y), 50),
        ("precision", precision, 30),
        ("recall", recall, 30),
        ("inception_score", classifier_score(probabilities), 50),
    ]
    assert measure(Features(x, probabilities), y, extractor, everything=False) == found[:1]


BAD = [np.full((5, 3), np.nan), np.full((5, 3), np.inf), np.zeros((1, 3)), np.zeros(5)]


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("bad", BAD)
def test_unsuitable_features_are_refused(distance, bad):
    reference = ReferenceFeatures.of(features(20, 3, 0))
    with pytest.raises(ValueError, match="at least 2 finite rows, found shape"):
        distance(bad, reference)


@pytest.mark.parametrize("bad", [*BAD, np.zeros((3, 3))])
def test_unsuitable_features_have_no_precision_and_recall(bad):
    with pytest.raises(ValueError, match="at least 4 finite rows, found shape"):
        precision_recall(bad, ReferenceFeatures.of(features(20, 3, 0)))
    with pytest.raises(ValueError, match=r"at least 4 finite rows, found shape \(3, 3\)"):
        precision_recall(features(20, 3, 0), ReferenceFeatures.of(features(3, 3, 0)))


@pytest.mark.parametrize("bad", BAD)
def test_unsuitable_probabilities_have_no_score(bad):
    with pytest.raises(ValueError, match="at least 2 finite rows, found shape"):
        classifier_score(bad)


def test_precision_and_recall_share_their_distances(monkeypatch):
    x, y = features(50, 3, 0), ReferenceFeatures.of(features(40, 3, 1))
    blocks = []
    real = distances.distance_blocks
    monkeypatch.setattr(distances, "distance_blocks", lambda *a: (blocks.append(a), real(*a))[1])
    extractor = Extractor("inception_clean", "0", torch.device("cpu"), None)
    measure(Features(x, np.full((50, 2), 0.5)), y, extractor, everything=True)
    assert len(blocks) == 1


def test_a_metric_is_a_function_and_an_entry(monkeypatch):
    entry = MetricEntry("spread", "test_metric:spread", "Spread", "", every_snapshot=True)
    module = types.ModuleType("test_metric")
    module.spread = lambda found, reference: float(found.features.std() / reference.features.std())
    monkeypatch.setitem(sys.modules, "test_metric", module)
    monkeypatch.setattr(distances, "METRICS", {**METRICS, "spread": entry})
    x = features(50, 3, 0)
    extractor = Extractor("classifier", "0", torch.device("cpu"), None)
    found = measure(Features(x, x), ReferenceFeatures.of(2 * x), extractor, everything=False)
    assert [row.metric for row in found] == ["frechet_distance", "spread"]
    assert found[1].value == pytest.approx(0.5)
