import numpy as np
import pytest
import torch

from dansm.config import TrainedAutoencoder
from dansm.errors import InputError
from dansm.files import read_json, unproven_files
from dansm.models.autoencoders import Codec, train_autoencoder

SETTINGS = TrainedAutoencoder(
    kind="trained",
    dataset="toy",
    channels=[4, 8],
    latent_channels=2,
    budget_images=40,
    batch_size=8,
    learning_rate=1e-3,
    kl_weight=1e-3,
    seed=1,
)
ALL = np.arange(4)


@pytest.fixture
def trained(make_store, colour_images, tmp_path):
    store = make_store(colour_images, (0, 255))
    before = torch.get_rng_state()
    report = train_autoencoder(SETTINGS, store, tmp_path / "ae")
    assert torch.equal(torch.get_rng_state(), before)
    return store, report, tmp_path / "ae"


def load(folder):
    return Codec.load(SETTINGS.model_dump(mode="json"), folder)


def test_training_reports_what_the_saved_autoencoder_does(trained):
    store, report, folder = trained
    assert read_json(folder / "report.json") == report
    assert unproven_files(folder, skip=set()) == []
    codec, images = load(folder), store.batch(ALL)
    latents = codec.encode(images)
    assert report["latent_shape"] == list(latents.shape[1:]) == [2, 8, 8]
    assert report["images"] == 4
    # The scaling factor gives latents of the training images unit variance.
    assert float(latents.std()) == pytest.approx(1, abs=1e-4)
    mse = float((codec.decode(latents).clamp(-1, 1) - images).double().square().mean())
    assert report["reconstruction_mse"] == pytest.approx(mse, rel=1e-3)
    psnr = 20 * np.log10(2) - 10 * np.log10(mse)
    assert report["reconstruction_psnr_db"] == pytest.approx(psnr, abs=0.01)


def test_training_twice_gives_the_same_bytes(trained, tmp_path):
    store, report, folder = trained
    assert train_autoencoder(SETTINGS, store, tmp_path / "again") == report
    name = "diffusion_pytorch_model.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_training_improves_the_reconstruction(make_store, tmp_path):
    ramp = np.linspace(0, 255, 16).astype(np.uint8)
    images = np.stack(
        [np.broadcast_to(ramp, (3, 16, 16)), np.broadcast_to(ramp[::-1], (3, 16, 16))]
    )
    store = make_store(np.ascontiguousarray(images), (0, 255))
    errors = [
        train_autoencoder(
            SETTINGS.model_copy(update={"budget_images": budget, "learning_rate": 1e-2}),
            store,
            tmp_path / str(budget),
        )["reconstruction_mse"]
        for budget in (8, 480)
    ]
    assert errors[1] < 0.5 * errors[0]


def test_latents_are_shifted_scaled_means(trained):
    store, _, folder = trained
    codec, images = load(folder), store.batch(ALL)
    codec.model.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    with torch.no_grad():
        means = codec.model.encode(images).latent_dist.mean
        decoded = codec.model.decode(means).sample
    torch.testing.assert_close(codec.encode(images), (means - 0.25) * 0.5)
    torch.testing.assert_close(codec.decode((means - 0.25) * 0.5), decoded)


def test_without_an_autoencoder_images_stay_as_they_are():
    codec, images = Codec.load(None, None), torch.randn(2, 3, 4, 4)
    assert codec.encode(images) is images and codec.decode(images) is images


def test_a_loaded_autoencoder_is_frozen(trained):
    model = load(trained[2]).model
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_missing_autoencoder_is_named(tmp_path):
    folder = tmp_path / "none"
    with pytest.raises(InputError, match="expected a diffusers AutoencoderKL") as caught:
        load(folder)
    assert str(folder) in str(caught.value)
    pretrained = {"kind": "pretrained", "name": str(folder), "subfolder": "vae", "revision": None}
    with pytest.raises(InputError, match="expected a diffusers AutoencoderKL") as caught:
        Codec.load(pretrained, None)
    assert str(folder) in str(caught.value)


def test_a_damaged_autoencoder_is_named(trained):
    folder = trained[2]
    path = folder / "diffusion_pytorch_model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError) as caught:
        load(folder)
    assert str(folder) in str(caught.value)
