"""Floors: halves of the real images, and an autoencoder's reconstructions."""

import numpy as np
import torch

from dansm.evaluation.distances import frechet_distance
from dansm.evaluation.features import ReferenceFeatures
from dansm.evaluation.reference import compute_reference, measure_reconstruction
from dansm.evaluation.table import read_table


def features(images):
    return images.reshape(len(images), -1).astype(float)[:, :3]


def images(seed, count=60):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 4, 4), dtype=np.uint8)


def test_the_floor_compares_disjoint_halves(make_store, tmp_path):
    store = make_store(images(0), value_range=(0, 16))
    seen = []

    def watched(batch):
        seen.append(len(batch))
        return features(batch)

    paths = {"features": tmp_path / "f.npz", "floor": tmp_path / "floor.csv"}
    compute_reference(store, watched, dataset="d", name="e", **paths)
    assert sum(seen) == 60
    saved = ReferenceFeatures.load(tmp_path / "f.npz")
    np.testing.assert_array_equal(saved.features, features(images(0)))
    np.testing.assert_allclose(saved.covariance, np.cov(features(images(0)).T))
    table = read_table(tmp_path / "floor.csv")
    frechet = table[table["metric"] == "frechet_distance"]
    assert frechet["seed_range"].tolist() == [0, 1, 2, 3, 4]
    assert frechet["n_samples"].unique().tolist() == [30]
    assert frechet["value"].nunique() == 5 and (frechet["value"] > 0).all()


def test_a_perfect_reconstruction_has_no_distance_and_a_noisy_one_has(make_store, tmp_path):
    store = make_store(images(0), value_range=(0, 16), name="pixels")
    latents = make_store(store.batch(np.arange(60)).numpy() * 3, name="latents")
    reference = ReferenceFeatures.of(features(images(0)))
    shared = {"dataset": "d", "name": "e", "path": tmp_path / "r.csv"}
    measure_reconstruction(store, latents, lambda z: z / 3, features, reference, **shared)
    table = read_table(tmp_path / "r.csv").set_index("metric")
    assert abs(table["value"]["frechet_distance"]) < 1e-6
    assert table["process"].unique().tolist() == ["reconstruction"]
    measure_reconstruction(
        store, latents, lambda z: torch.zeros_like(z), features, reference, **shared
    )
    expected = frechet_distance(np.full((60, 3), 8.0), reference)
    found = read_table(tmp_path / "r.csv").set_index("metric")["value"]["frechet_distance"]
    np.testing.assert_allclose(found, expected)
    assert found > 1
