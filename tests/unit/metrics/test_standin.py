"""The stand-in for Inception: what reads Inception's file reads it, and tables name it."""

import numpy as np
import pytest
import torch
from cleanfid.inception_torchscript import InceptionV3W

from dansm.config import INCEPTION_FILE
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.metrics.extractors import make_extractor
from dansm.metrics.standin import write_random_inception


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    before = torch.get_rng_state()
    write_random_inception(folder / INCEPTION_FILE)
    assert torch.equal(torch.get_rng_state(), before)
    return folder


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 40, 50)))


def test_clean_fid_reads_it(folder, images):
    for inside, size in ((True, (40, 50)), (False, (299, 299))):
        model = InceptionV3W(str(folder), download=False, resize_inside=inside).eval()
        found = model(torch.nn.functional.interpolate(images.float(), size=size))
        assert found.shape == (3, 2048) and float(found.std(dim=0).mean()) > 0


@pytest.mark.parametrize("mode", ["legacy_tensorflow", "clean"])
def test_its_name_says_that_it_is_random(folder, images, make_store, mode):
    store = make_store(images.numpy().astype(np.uint8), (0, 255))
    name = f"random_inception_{mode}"
    extractor = make_extractor(name, store, inception_weights=folder)
    assert extractor.name == name and extractor.weights == sha256(folder / INCEPTION_FILE)
    assert extractor.score == "classifier_score"  # no inception score
    found = extractor(images.byte())
    assert found.features.shape == (3, 2048)
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)


def test_it_does_not_pass_for_inception(folder, images, make_store):
    store = make_store(images.numpy().astype(np.uint8), (0, 255))
    with pytest.raises(InputError, match="expected Inception weights of sha256"):
        make_extractor("inception_clean", store, inception_weights=folder)
