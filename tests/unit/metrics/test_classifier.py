from shutil import copytree

import numpy as np
import pytest
import torch

from dansm.config import Classifier, DigitsSource, HeldOut
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError
from dansm.io.files import read_json, write_json
from dansm.metrics.classifier import load_classifier, train_classifier

SETTINGS = Classifier(
    channels=8,
    features=32,
    epochs=5,
    batch_size=64,
    learning_rate=3e-3,
    seed=0,
)
SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    digits, held_out = DigitsSource(kind="sklearn_digits"), HeldOut(share=0.2)
    build_pixel_store(digits, SHAPE, "", folder / "digits", held_out=held_out)
    store = open_store(folder / "digits")
    build_pixel_store(digits, SHAPE, "", folder / "apart", held_out=held_out, training=store)
    apart = open_store(folder / "apart")
    before = torch.get_rng_state()
    report = train_classifier(SETTINGS, store, apart, folder / "c")
    assert torch.equal(torch.get_rng_state(), before)
    return apart, report, folder / "c"


def test_it_learns_digits_it_has_not_seen(trained):
    _, report, folder = trained
    assert read_json(folder / "report.json") == report
    assert report["images_held_out"] == round(0.2 * 1797)
    assert report["images_held_out"] + report["images_trained_on"] == 1797
    assert report["accuracy_held_out"] > 0.9
    assert report["settings"] == SETTINGS.model_dump(mode="json")


def test_the_loaded_classifier_is_the_trained_one(trained):
    apart, report, folder = trained
    model, images = load_classifier(SETTINGS, SHAPE, folder), apart.batch(np.arange(359))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    correct = model(images).argmax(1).numpy() == apart.labels
    assert report["accuracy_held_out"] == pytest.approx(correct.mean())
    features = model.body(images)
    assert features.shape == (359, 32)
    torch.testing.assert_close(features @ model.head.weight.T + model.head.bias, model(images))


@pytest.mark.parametrize("named", [False, True])
def test_blocks_halve_colour_images_and_classes_are_the_stores(make_store, tmp_path, named):
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 12), dtype=np.uint8)
    store = make_store(images, (0, 255), np.arange(12) % 3)
    if named:  # one of them has no images here
        write_json(store.path / "classes.json", ["cat", "dog", "frog", "horse"])
    settings = SETTINGS.model_copy(update={"blocks": 2, "epochs": 1})
    report = train_classifier(settings, store, store, tmp_path / "c")
    model = load_classifier(settings, (3, 8, 12), tmp_path / "c")
    assert report["classes"] == model(store.batch(np.arange(2))).shape[1] == 3 + named
    convolutions = [m for m in model.body if isinstance(m, torch.nn.Conv2d)]
    channels = [(m.in_channels, m.out_channels) for m in convolutions]
    assert channels == [(3, 8), (8, 16), (16, 16), (16, 32)]
    assert model.body[:-3](store.batch(np.arange(2))).shape == (2, 32, 2, 3)


def test_training_twice_gives_the_same_bytes(make_store, tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (60, 1, 8, 8), dtype=np.uint8)
    store = make_store(images, (0, 16), np.arange(60) % 10)
    contents = []
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        settings = SETTINGS.model_copy(update={"seed": seed})
        train_classifier(settings, store, store, tmp_path / name)
        contents.append((tmp_path / name / "model.safetensors").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_held_out_images_are_of_the_same_classes(make_store, tmp_path):
    images = np.zeros((4, 1, 8, 8), np.uint8)
    stores = [make_store(images, (0, 16), np.arange(4) % 2, name) for name in ("a", "b")]
    for store, names in zip(stores, (["cat", "dog"], ["cat", "cow"]), strict=True):
        write_json(store.path / "classes.json", names)
    expected = rf"^{tmp_path}/b: expected images of the classes of .*'dog'.*, found .*'cow'"
    with pytest.raises(InputError, match=expected):
        train_classifier(SETTINGS, *stores, tmp_path / "c")


def test_a_store_without_labels_is_refused(make_store, tmp_path):
    store = make_store(np.zeros((4, 1, 8, 8), np.uint8), (0, 16))
    with pytest.raises(InputError, match="expected a labelled store, found no labels") as caught:
        train_classifier(SETTINGS, store, store, tmp_path / "c")
    assert str(store.path) in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("seed", 1), ("epochs", 6), ("channels", 4)])
def test_a_classifier_of_other_settings_is_refused(trained, key, value):
    folder = trained[2]
    with pytest.raises(InputError, match=f"expected classifier .*'{key}': {value}") as caught:
        load_classifier(SETTINGS.model_copy(update={key: value}), SHAPE, folder)
    assert str(folder / "model.safetensors") in str(caught.value)


@pytest.mark.parametrize("name", ["model.safetensors", "report.json"])
def test_a_missing_classifier_is_named(trained, tmp_path, name):
    copytree(trained[2], tmp_path / "c")
    (tmp_path / "c" / name).unlink()
    with pytest.raises(InputError, match=f"^{tmp_path}/c/{name}: .*found no"):
        load_classifier(SETTINGS, SHAPE, tmp_path / "c")
