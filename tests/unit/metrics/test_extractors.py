import re
from urllib.error import URLError

import numpy as np
import pytest
import torch
from cleanfid.fid import get_folder_features
from cleanfid.inception_torchscript import InceptionV3W
from cleanfid.resize import build_resizer
from PIL import Image

from dansm.catalogue import EXTRACTORS
from dansm.config import INCEPTION_SHA256, Classifier
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.metrics.classifier import load_classifier, train_classifier
from dansm.metrics.extractors import (
    Extractor,
    clean_resize,
    find_inception,
    make_extractor,
)

DIGITS = np.random.default_rng(0).integers(0, 17, (30, 1, 8, 8), dtype=np.uint8)
SETTINGS = Classifier(
    channels=2,
    features=6,
    epochs=1,
    batch_size=16,
    learning_rate=1e-3,
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
        self.output = torch.nn.Linear(2048, 1008)
        torch.nn.init.normal_(self.output.weight, std=1e-6)

    def forward(
        self,
        img: torch.Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> torch.Tensor:
        features = self.layers(img) + 1
        if return_features:
            return features
        return torch.softmax(features @ self.output.weight.t(), dim=1)


NAME = "inception-2015-12-05.pt"
MODES = ["inception_legacy_tensorflow", "inception_clean"]


@pytest.fixture
def weights(tmp_path):
    folder = tmp_path / "inception"
    folder.mkdir()
    torch.jit.script(Inception()).save(str(folder / NAME))
    return folder


@pytest.fixture
def make_inception(weights, make_store):
    """Make an extractor for images of a store, with the stand-in."""

    def make(name, store):
        checksum = sha256(weights / NAME)
        return make_extractor(name, store, inception_weights=weights, inception_sha256=checksum)

    return make


def test_legacy_inception_gets_the_images_as_they_are(make_store, colour_images, make_inception):
    extractor = make_inception(MODES[0], make_store(colour_images, (0, 255)))
    found = extractor(torch.from_numpy(colour_images)).features
    assert found.shape == (4, 2048) and found.dtype == np.float32
    means = colour_images.astype(np.float64).mean(axis=(2, 3))
    np.testing.assert_allclose(found[:, :3], means + 1, rtol=1e-5)
    np.testing.assert_allclose(found[:, 9], 10 * means.mean(axis=1) + 1, rtol=1e-5)


def test_clean_inception_gets_images_resized_by_pil(make_store, colour_images, make_inception):
    extractor = make_inception(MODES[1], make_store(colour_images, (0, 255)))
    found = extractor(torch.from_numpy(colour_images)).features
    assert found.shape == (4, 2048)
    for image, features in zip(colour_images, found, strict=True):
        for channel in range(3):
            plane = Image.fromarray(image[channel].astype(np.float32))
            resized = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
            expected = (resized.astype(np.float64).mean() - 128) / 128
            assert features[channel] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("sides", [(32, 32), (64, 48), (299, 299), (256, 400), (1024, 300)])
def test_every_pixel_is_resized_as_by_clean_fid(sides):
    images = np.random.default_rng(0).integers(0, 256, (2, 3, *sides), dtype=np.uint8)
    images[0] = images[0] // 128 * 255  # whose interpolation leaves the range
    resize = build_resizer("clean")
    expected = np.stack([resize(image.transpose(1, 2, 0)) for image in images])
    found = clean_resize(torch.from_numpy(images).float())
    assert expected.min() == 0 and expected.max() == 255
    np.testing.assert_allclose(found.permute(0, 2, 3, 1), expected, atol=2e-4)


@pytest.mark.parametrize("name", MODES)
def test_features_are_clean_fids_of_the_images_as_png(
    make_store, make_inception, weights, tmp_path, name
):
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 20, 28), dtype=np.uint8)
    mode = name.removeprefix("inception_")
    (tmp_path / "png").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "png" / f"{number}.png")
    expected = get_folder_features(
        str(tmp_path / "png"),
        InceptionV3W(str(weights), download=False, resize_inside=mode != "clean"),
        num_workers=0,
        device=torch.device("cpu"),
        mode=mode,
        verbose=False,
    )
    found = make_inception(name, make_store(images, (0, 255)))(torch.from_numpy(images))
    np.testing.assert_allclose(found.features, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODES)
def test_inception_probabilities_are_those_without_bias(
    make_store, make_inception, weights, colour_images, name
):
    found = make_inception(name, make_store(colour_images, (0, 255)))(
        torch.from_numpy(colour_images)
    )
    assert found.probabilities.shape == (4, 1008)
    model = torch.jit.load(str(weights / NAME))
    logits = found.features.astype(np.float64) @ model.output.weight.detach().double().numpy().T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4)
    if name == MODES[0]:
        whole = model(torch.from_numpy(colour_images).float(), no_output_bias=True)
        np.testing.assert_allclose(found.probabilities, whole.detach(), rtol=1e-5)


@pytest.mark.parametrize("name", MODES)
def test_inception_sees_grey_images_as_three_equal_channels(make_store, make_inception, name):
    grey = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), dtype=np.uint8)
    found = make_inception(name, make_store(grey, (0, 255)))(torch.from_numpy(grey)).features
    assert found.shape == (3, 2048)
    np.testing.assert_allclose(found[:, :3], found[:, :1].repeat(3, axis=1), rtol=1e-5)


@pytest.mark.parametrize("name", MODES)
def test_missing_inception_weights_are_named(make_store, colour_images, tmp_path, name):
    store = make_store(colour_images, (0, 255))
    with pytest.raises(InputError, match=r"expected Inception weights .*, found no file") as caught:
        make_extractor(name, store, inception_weights=tmp_path / "none")
    assert str(tmp_path / "none" / NAME) in str(caught.value)


def test_other_inception_weights_are_refused_with_both_checksums(
    make_store, colour_images, weights
):
    store = make_store(colour_images, (0, 255))
    message = f"expected .* sha256 {INCEPTION_SHA256}, found {sha256(weights / NAME)}"
    with pytest.raises(InputError, match=message) as caught:
        make_extractor("inception_clean", store, inception_weights=weights)
    assert str(caught.value).startswith(f"{weights / NAME}: ")


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Empty folders in place of torch's cache and of that for temporary files."""
    torch_cache, temporary = tmp_path / "torch" / "clean-fid", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(temporary))
    return torch_cache, temporary


@pytest.mark.parametrize("cache", [0, 1], ids=["torch's", "clean-fid's"])
def test_inception_weights_in_a_cache_are_found(weights, caches, cache):
    caches[cache].mkdir(exist_ok=True, parents=True)
    (weights / NAME).rename(caches[cache] / NAME)
    checksum = sha256(caches[cache] / NAME)
    assert find_inception(None, checksum) == caches[cache] / NAME


def test_inception_weights_are_downloaded_and_checked(weights, caches, monkeypatch, capsys):
    monkeypatch.setattr("dansm.metrics.extractors.inception_url", (weights / NAME).as_uri())
    (caches[1] / NAME).write_bytes(b"cut short")
    checksum = sha256(weights / NAME)
    path = find_inception(None, checksum)
    assert path == caches[0] / NAME and sha256(path) == checksum
    assert f"{caches[1] / NAME}: passed over" in capsys.readouterr().out
    assert find_inception(None, checksum) == path
    path.unlink()
    with pytest.raises(InputError, match=f"sha256 {'0' * 64} to {re.escape(str(path))}, found"):
        find_inception(None, "0" * 64)
    assert list(caches[0].iterdir()) == []


def test_a_cache_that_is_closed_is_passed_over(weights, caches, monkeypatch, capsys):
    caches[0].mkdir(parents=True)
    (caches[0] / NAME).mkdir()
    (weights / NAME).rename(caches[1] / NAME)
    assert find_inception(None, sha256(caches[1] / NAME)) == caches[1] / NAME
    assert f"{caches[0] / NAME}: passed over" in capsys.readouterr().out
    monkeypatch.setattr("torch.hub.get_dir", lambda: "/dev/null")
    assert find_inception(None, sha256(caches[1] / NAME)) == caches[1] / NAME
    with pytest.raises(InputError, match=r"to /dev/null.* found .*inception_weights in the conf"):
        find_inception(None, "0" * 64)


def test_without_network_the_message_says_where_to_put_the_file(caches, monkeypatch):
    def offline(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(InputError, match=rf"no route to host.*inception_weights .* has {NAME}"):
        find_inception(None)


@pytest.mark.parametrize(
    ("images", "value_range", "found"),
    [
        (DIGITS, (0, 16), r"uint8 in \(0, 16\)"),
        (DIGITS.astype(np.float32), None, "float32 in None"),
    ],
)
def test_inception_takes_only_8_bit_images(make_store, make_inception, images, value_range, found):
    store = make_store(images, value_range)
    with pytest.raises(
        InputError, match=f"inception_clean takes .* of 8 bits, found 1 channels of {found}"
    ):
        make_inception("inception_clean", store)


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_classifier_features_are_its_hidden_activations(make_store, tmp_path, as_dictionary):
    store = make_store(DIGITS, (0, 16), np.arange(30) % 10)
    train_classifier(SETTINGS, store, store, tmp_path / "c")
    settings = SETTINGS.model_dump(mode="json") if as_dictionary else SETTINGS
    extractor = make_extractor(
        "classifier", store, classifier=settings, classifier_path=tmp_path / "c"
    )
    model = load_classifier(SETTINGS, (1, 8, 8), tmp_path / "c")
    images = torch.from_numpy(DIGITS / 8.0 - 1).float()
    found = extractor(torch.from_numpy(DIGITS))
    np.testing.assert_allclose(found.features, model.body(images), atol=1e-5)
    np.testing.assert_allclose(found.probabilities, model(images).softmax(dim=1), atol=1e-6)
    assert extractor.weights == sha256(tmp_path / "c" / "model.safetensors")
    assert extractor.score == "classifier_score"


def test_features_are_computed_without_gradients_and_in_full_precision():
    weight = torch.ones(3, requires_grad=True)

    def forward(images):
        assert torch.backends.cudnn.enabled and not torch.backends.cudnn.allow_tf32
        return images * weight, images

    extractor = Extractor("classifier", "0123", torch.device("cpu"), forward)
    np.testing.assert_array_equal(extractor(torch.ones(5, 3)).features, np.ones((5, 3)))
    assert torch.backends.cudnn.allow_tf32


def test_a_large_set_goes_through_in_batches(make_store, tmp_path, monkeypatch):
    store = make_store(DIGITS, (0, 16), np.arange(30) % 10)
    train_classifier(SETTINGS, store, store, tmp_path / "c")
    extractor = make_extractor(
        "classifier", store, classifier=SETTINGS, classifier_path=tmp_path / "c"
    )
    whole = extractor(torch.from_numpy(DIGITS))
    monkeypatch.setattr("dansm.metrics.extractors._BATCH", 7)
    parts = extractor(torch.from_numpy(DIGITS))
    np.testing.assert_allclose(whole.features, parts.features, atol=1e-5)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-5)


def test_the_classifier_needs_settings_and_folder(make_store):
    with pytest.raises(ValueError, match="expected the classifier's settings and folder"):
        make_extractor("classifier", make_store(DIGITS, (0, 16)))


@pytest.mark.parametrize(
    "name", [n for n, entry in EXTRACTORS.items() if entry.weights != "classifier"]
)
def test_only_inception_itself_must_have_its_published_weights(
    make_store, colour_images, weights, name
):
    store = make_store(colour_images, (0, 255))
    if EXTRACTORS[name].weights == "inception":
        with pytest.raises(InputError, match=INCEPTION_SHA256):
            make_extractor(name, store, inception_weights=weights)
    else:
        extractor = make_extractor(name, store, inception_weights=weights)
        assert extractor.weights == sha256(weights / NAME)
        assert extractor.score == "classifier_score"
        assert extractor(torch.from_numpy(colour_images)).features.shape == (4, 2048)
