"""Floors: halves of the real images, and an autoencoder's reconstructions."""

import numpy as np
import pytest
import torch

from dansm.io.tables import DISTANCE_COLUMNS, read_table
from dansm.metrics.distances import classifier_score, frechet_distance, recall
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.reference import compute_reference, measure_reconstruction
from dansm.metrics.statistics import ReferenceFeatures
from dansm.randomness import generator


def features(images):
    """The first three pixels."""
    return np.asarray(images).reshape(len(images), -1)[:, :3].astype(np.float32)


def probabilities(images):
    """Two classes, by the fourth pixel."""
    share = np.asarray(images).reshape(len(images), -1)[:, 3] / 16
    return np.stack([share, 1 - share], axis=1).astype(np.float32)


def forward(images):
    return torch.from_numpy(features(images)), torch.from_numpy(probabilities(images))


EXTRACTOR = Extractor("classifier", "0123", torch.device("cpu"), forward)


def images(seed, count=60):
    return np.random.default_rng(seed).integers(0, 17, (count, 1, 4, 4), dtype=np.uint8)


def test_the_floor_compares_disjoint_halves(make_store, tmp_path):
    store = make_store(images(0), value_range=(0, 16))
    paths = {"features": tmp_path / "f.npz", "floor": tmp_path / "floor.csv"}
    compute_reference(store, EXTRACTOR, dataset="d", part="training", **paths)
    saved = ReferenceFeatures.load(tmp_path / "f.npz", "classifier with weights 0123")
    assert saved.count == 60
    np.testing.assert_array_equal(saved.features, features(images(0)))
    np.testing.assert_allclose(saved.covariance, np.cov(features(images(0)).T))
    table = read_table(tmp_path / "floor.csv", DISTANCE_COLUMNS)
    assert (table["n_samples"] == 30).all() and (table["feature_extractor"] == EXTRACTOR.name).all()
    values = {metric: rows["value"] for metric, rows in table.groupby("metric")}
    assert set(values) == {
        "frechet_distance",
        "kernel_distance",
        "precision",
        "recall",
        "classifier_score",
    }
    frechet = table[table["metric"] == "frechet_distance"]
    assert frechet["image_set"].tolist() == [0, 1, 2, 3, 4]
    assert frechet["value"].nunique() == 5 and (frechet["value"] > 0).all()
    # What two sets without a common image can have.
    assert all(0 < values[metric].mean() < 1 for metric in ("precision", "recall"))
    assert values["classifier_score"].between(1, 2).all()


def test_of_many_images_some_features_are_kept_and_some_make_the_floor(
    make_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("dansm.metrics.statistics.KEPT_FEATURES", 7)
    monkeypatch.setattr("dansm.metrics.reference._FLOOR_IMAGES", 40)
    monkeypatch.setattr("dansm.metrics.reference._BATCH", 13)
    real = images(0)
    real[:, 0, 0, 0] = np.arange(60)  # the first feature tells the images apart
    store = make_store(real, value_range=(0, 255))
    paths = {"features": tmp_path / "f.npz", "floor": tmp_path / "floor.csv"}
    halves = []
    of = ReferenceFeatures.of
    monkeypatch.setattr(ReferenceFeatures, "of", lambda found: (halves.append(found), of(found))[1])
    compute_reference(store, EXTRACTOR, dataset="d", part="training", **paths)
    saved = ReferenceFeatures.load(tmp_path / "f.npz", EXTRACTOR.identity)
    np.testing.assert_allclose(saved.mean, features(real).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(saved.covariance, np.cov(features(real).T), rtol=1e-6)
    kept = saved.features[:, 0].astype(int)
    assert len(kept) == 7 and (np.diff(kept) > 0).all()
    np.testing.assert_array_equal(saved.features, features(real)[kept])
    # Of each split: the real half's features, then the generated half's inside the distance.
    for other, mine in zip(halves[::2], halves[1::2], strict=True):
        both = np.concatenate([other, mine])[:, 0]
        assert len(other) == len(mine) == 20 and len(set(both)) == 40
    table = read_table(tmp_path / "floor.csv", DISTANCE_COLUMNS).set_index("metric")["n_samples"]
    assert table["frechet_distance"].unique().tolist() == [20]


@pytest.mark.parametrize(
    ("n_samples", "count", "draws"),
    [(8, 8, 5), (15, 15, 2), (30, 30, 1), (60, 40, 1), (None, 40, 1)],
)
def test_the_floor_is_of_as_many_other_images_as_runs_generate(
    make_store, tmp_path, n_samples, count, draws
):
    store = make_store(images(0), value_range=(0, 16), name="training")
    held_out = images(1, 40)
    other = make_store(held_out, value_range=(0, 16), name="held_out")
    paths = {"features": tmp_path / "f.npz", "floor": tmp_path / "floor.csv"}
    options = {"dataset": "d", "part": "training", "other": other, "n_samples": n_samples}
    compute_reference(store, EXTRACTOR, **options, **paths)
    table = read_table(tmp_path / "floor.csv", DISTANCE_COLUMNS)
    table = table[table["metric"] == "frechet_distance"]
    assert set(table["process"]) == {"real_images"} and set(table["reference"]) == {"training"}
    assert table["n_samples"].tolist() == [count] * draws and table["value"].nunique() == draws
    training = ReferenceFeatures.of(features(images(0)))
    drawn = torch.randperm(40, generator=generator(0, "draws")).numpy()[:count]
    found = Features(features(held_out[drawn]), probabilities(held_out[drawn]))
    assert table["value"].iloc[0] == pytest.approx(frechet_distance(found, training), rel=1e-6)
    assert ReferenceFeatures.load(paths["features"], EXTRACTOR.identity).count == 60


def test_a_perfect_reconstruction_has_no_distance_and_a_noisy_one_has(make_store, tmp_path):
    store = make_store(images(0), value_range=(0, 16), name="pixels")
    latents = make_store(store.batch(np.arange(60)).numpy() * 3, name="latents")
    reference = ReferenceFeatures.of(features(images(0)))
    shared = {"dataset": "d", "path": tmp_path / "r.csv"}
    measure_reconstruction(store, latents, lambda z: z / 3, EXTRACTOR, reference, **shared)
    table = read_table(tmp_path / "r.csv", DISTANCE_COLUMNS).set_index("metric")
    assert abs(table["value"]["frechet_distance"]) < 1e-6
    assert table["value"]["precision"] == table["value"]["recall"] == 1
    expected = classifier_score(Features(features(images(0)), probabilities(images(0))), reference)
    assert table["value"]["classifier_score"] == pytest.approx(expected)
    assert table["process"].unique().tolist() == ["reconstruction"]
    measure_reconstruction(
        store, latents, lambda z: torch.zeros_like(z), EXTRACTOR, reference, **shared
    )
    grey = Features(np.full((60, 3), 8.0), probabilities(images(0)))
    found = read_table(tmp_path / "r.csv", DISTANCE_COLUMNS).set_index("metric")["value"]
    assert found["frechet_distance"] == pytest.approx(frechet_distance(grey, reference))
    assert found["frechet_distance"] > 1
    assert found["recall"] == pytest.approx(recall(grey, reference))
