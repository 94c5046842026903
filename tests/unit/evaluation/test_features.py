import numpy as np
import pytest
import torch
from PIL import Image

from dansm.config import Classifier
from dansm.errors import InputError
from dansm.evaluation.classifier import load_classifier, train_classifier
from dansm.evaluation.features import ReferenceFeatures, extract, make_extractor

DIGITS = np.random.default_rng(0).integers(0, 17, (30, 1, 8, 8), dtype=np.uint8)
SETTINGS = Classifier(
    dataset="digits",
    channels=2,
    features=6,
    epochs=1,
    batch_size=16,
    learning_rate=1e-3,
    held_out=0.1,
    seed=0,
)


class Layers(torch.nn.Module):
    """2 048 features: 1 to 2 048 times the mean, of which 1, 2 and 3 are each channel's."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factors", torch.arange(1, 2049).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = x.mean(dim=[1, 2, 3])[:, None] * self.factors
        features[:, :3] = x.mean(dim=[2, 3])
        return features


class Inception(torch.nn.Module):
    """A stand-in with the interface that clean-fid uses; it marks its own preprocessing by + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        return self.layers(x) + 1


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "inception"
    folder.mkdir()
    torch.jit.script(Inception()).save(str(folder / "inception-2015-12-05.pt"))
    return folder


def test_legacy_inception_gets_the_images_as_they_are(make_store, colour_images, weights):
    store = make_store(colour_images, (0, 255))
    extractor = make_extractor("inception_legacy_tensorflow", store, inception_weights=weights)
    found = extract(extractor, colour_images)
    assert found.shape == (4, 2048) and found.dtype == np.float64
    means = colour_images.astype(np.float64).mean(axis=(2, 3))
    np.testing.assert_allclose(found[:, :3], means + 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 9], 10 * means.mean(axis=1) + 1, rtol=1e-5)


def test_clean_inception_gets_images_resized_by_pil(make_store, colour_images, weights):
    store = make_store(colour_images, (0, 255))
    extractor = make_extractor("inception_clean", store, inception_weights=weights)
    found = extract(extractor, colour_images)
    assert found.shape == (4, 2048)
    for image, features in zip(colour_images, found, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[channel].astype(np.float32))
            resized = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
            expected = (resized.astype(np.float64).mean() - 128) / 128
            assert features[channel] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["inception_legacy_tensorflow", "inception_clean"])
def test_inception_sees_grey_images_as_three_equal_channels(make_store, weights, name):
    grey = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    extractor = make_extractor(name, make_store(grey, (0, 255)), inception_weights=weights)
    found = extract(extractor, grey)
    assert found.shape == (3, 2048)
    np.testing.assert_allclose(found[:, :3], found[:, :1].repeat(3, axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["inception_legacy_tensorflow", "inception_clean"])
def test_missing_inception_weights_are_named(make_store, colour_images, tmp_path, name):
    store = make_store(colour_images, (0, 255))
    with pytest.raises(InputError, match="expected Inception weights, found no file") as caught:
        make_extractor(name, store, inception_weights=tmp_path / "none")
    assert str(tmp_path / "none" / "inception-2015-12-05.pt") in str(caught.value)


@pytest.mark.parametrize(
    ("images", "value_range", "found"),
    [
        (DIGITS, (0, 16), r"uint8 in \(0, 16\)"),
        (DIGITS.astype(np.float32), None, "float32 in None"),
    ],
)
def test_inception_takes_only_8_bit_images(make_store, weights, images, value_range, found):
    store = make_store(images, value_range)
    with pytest.raises(InputError, match=f"inception_clean takes 8-bit images, found {found}"):
        make_extractor("inception_clean", store, inception_weights=weights)


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_classifier_features_are_its_hidden_activations(make_store, tmp_path, as_dictionary):
    store = make_store(DIGITS, (0, 16), np.arange(30) % 10)
    train_classifier(SETTINGS, store, tmp_path / "c")
    settings = SETTINGS.model_dump(mode="json") if as_dictionary else SETTINGS
    extractor = make_extractor(
        "digit_classifier", store, classifier=settings, classifier_path=tmp_path / "c"
    )
    model = load_classifier(SETTINGS, (1, 8, 8), tmp_path / "c")
    expected = model.body(torch.from_numpy(DIGITS / 8.0 - 1).float()).numpy()
    for batch_size in (1, 7, 30, 250):
        np.testing.assert_allclose(extract(extractor, DIGITS, batch_size), expected, atol=1e-5)


def test_the_classifier_needs_settings_and_folder(make_store):
    with pytest.raises(ValueError, match="expected its settings and folder"):
        make_extractor("digit_classifier", make_store(DIGITS, (0, 16)))


def test_reference_features_have_mean_and_unbiased_covariance(tmp_path):
    features = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32) + 100
    reference = ReferenceFeatures.of(features)
    mean = features.astype(np.float64).sum(axis=0) / 50
    centred = features.astype(np.float64) - mean
    np.testing.assert_allclose(reference.mean, mean, rtol=1e-14)
    np.testing.assert_allclose(reference.covariance, centred.T @ centred / 49, rtol=1e-10)
    reference.save(tmp_path / "r.npz")
    loaded = ReferenceFeatures.load(tmp_path / "r.npz")
    for name in ("features", "mean", "covariance"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(reference, name))


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
        (lambda path: np.savez(path, other=np.zeros(3)), "expected reference features, found"),
        (lambda path: np.savez(path, features=np.full((3, 2), np.nan)), "expected finite features"),
        (lambda path: np.savez(path, features=np.zeros(3)), r"shape \(n, d\), found shape \(3,\)"),
        (cut, "expected reference features, found"),
        (flip, "expected reference features, found"),
    ],
    ids=["missing", "empty", "text", "other", "nan", "1-d", "cut short", "flipped bit"],
)
def test_damaged_reference_features_are_refused(tmp_path, damage, message):
    path = tmp_path / "r.npz"
    ReferenceFeatures.of(np.random.default_rng(0).standard_normal((50, 4))).save(path)
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        ReferenceFeatures.load(path)
    assert str(path) in str(caught.value)
