import hashlib
import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file

from dansm.config import PretrainedAutoencoder, TrainedAutoencoder
from dansm.errors import InputError
from dansm.io.files import read_json, write_text
from dansm.io.records import recorded
from dansm.models.autoencoders import (
    Codec,
    fetch_autoencoder,
    train_autoencoder,
    write_random_autoencoder,
)

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
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def trained(make_store, colour_images, tmp_path):
    store = make_store(colour_images, (0, 255))
    before = torch.get_rng_state()
    report = train_autoencoder(SETTINGS, store, tmp_path / "ae")
    assert torch.equal(torch.get_rng_state(), before)
    return store, report, tmp_path / "ae"


def load(folder):
    return Codec.load(folder, "cpu")


def test_training_reports_what_the_saved_autoencoder_does(trained):
    store, report, folder = trained
    assert read_json(folder / "report.json") == report
    codec, images = load(folder), store.batch(ALL)
    latents = codec.encode(images).mean
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
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


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


def change_config(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.unlink()  # it may have a second name elsewhere
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def test_latents_are_shifted_scaled_posteriors(trained):
    store, _, folder = trained
    change_config(folder, scaling_factor=0.5, shift_factor=0.25)
    codec, images = load(folder), store.batch(ALL)
    with torch.no_grad():
        posterior = codec.model.encode(images).latent_dist
        decoded = codec.model.decode(posterior.mean).sample
    mean, deviation = codec.encode(images)
    torch.testing.assert_close(mean, (posterior.mean - 0.25) * 0.5)
    # A sample of the posterior is shifted and scaled as its mean is.
    torch.testing.assert_close(deviation, torch.exp(0.5 * posterior.logvar) * 0.5)
    torch.testing.assert_close(codec.decode(mean), decoded)


def test_without_an_autoencoder_images_stay_as_they_are():
    codec, images = Codec.load(None), torch.randn(2, 3, 4, 4)
    assert codec.encode(images).mean is images and codec.decode(images) is images


def test_a_loaded_autoencoder_is_frozen_and_says_what_it_is(trained):
    codec = load(trained[2])
    assert not codec.model.training and not any(p.requires_grad for p in codec.model.parameters())
    weights = (trained[2] / WEIGHTS).read_bytes()
    assert codec.description == {
        "source": "an autoencoder trained on toy",
        "class": "AutoencoderKL",
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "scaling_factor": trained[1]["scaling_factor"],
        "shift_factor": 0.0,
        "mixed_precision": "no",
    }


def test_a_missing_autoencoder_is_named(tmp_path):
    with pytest.raises(InputError, match="expected a JSON file, found none") as caught:
        load(tmp_path / "none")
    assert str(tmp_path / "none") in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "weights of AutoencoderKL"),
        (lambda path: path.unlink(), "expected the weights of AutoencoderKL"),
    ],
    ids=["cut short", "missing"],
)
def test_damaged_weights_are_named(trained, damage, message):
    folder = trained[2]
    own_copy(folder / WEIGHTS)
    damage(folder / WEIGHTS)
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def own_copy(path):
    """Undo a hard link."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def change_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    (folder / WEIGHTS).unlink()
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder.conv_in.weight"), r"found others or none for encoder\.conv_in"),
        (lambda w: w.update(more=torch.zeros(1)), "found others or none for more"),
        (lambda w: w["encoder.conv_in.bias"].fill_(torch.nan), r"NaN in encoder\.conv_in\.bias"),
    ],
    ids=["too few", "too many", "nan"],
)
def test_weights_that_do_not_fit_are_named(trained, change, message):
    change_weights(trained[2], change)
    with pytest.raises(InputError, match=message) as caught:
        load(trained[2])
    assert str(trained[2] / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"scaling_factor": 0},
        {"scaling_factor": float("nan")},
        {"scaling_factor": -1.0},
        {"scaling_factor": "1"},
        {"shift_factor": float("inf")},
        {"norm_num_groups": "four"},
        {"norm_num_groups": 3},
        {"latent_channels": 5},
        {"block_out_channels": None},
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_refused_in_one_line(trained, changes):
    change_config(trained[2], **changes)
    with pytest.raises(InputError, match=f"^{trained[2]}") as caught:
        load(trained[2])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["null", "[]", '{"source": 1}', '{"source": "x"}'])
def test_a_report_that_is_wrong_is_named(trained, content):
    write_text(trained[2] / "report.json", content)
    with pytest.raises(InputError, match=f"^{trained[2] / 'report.json'}: "):
        load(trained[2])


@pytest.mark.parametrize("name", [WEIGHTS, "config.json", "report.json"])
def test_a_flipped_bit_of_a_recorded_autoencoder_is_refused(tmp_path, name):
    folder = tmp_path / "models" / "toy" / "vae"
    with recorded(tmp_path, "make_smoke_autoencoder", "toy", [folder]):
        write_random_autoencoder((3, 16, 16), (4, 4, 4), folder)
    load(folder)
    own_copy(folder / name)
    content = bytearray((folder / name).read_bytes())
    content[-9] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{folder / name}: expected a result as its job made it"):
        load(folder)


IMAGES, LATENTS = (3, 16, 16), (4, 4, 4)
SHAPES = {"toy": (IMAGES, LATENTS)}


@pytest.fixture
def published(tmp_path):
    """An AutoencoderKL with attention, as published: a folder with config and weights."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        scaling_factor=0.5,
    )
    model.save_pretrained(tmp_path / "published" / "vae")
    return tmp_path / "published"


def fetch(published, path, shapes=SHAPES, **changes):
    options = {"kind": "pretrained", "name": str(published), "subfolder": "vae"}
    fetch_autoencoder(PretrainedAutoencoder(**(options | changes)), shapes, path)


def test_a_published_folder_is_copied_and_does_the_same(published, tmp_path):
    vae = published / "vae"
    (vae / WEIGHTS).chmod(0o400)
    fetch(published, tmp_path / "ours", mixed_precision="bf16")
    assert (tmp_path / "ours" / WEIGHTS).read_bytes() == (vae / WEIGHTS).read_bytes()
    assert (vae / WEIGHTS).stat().st_mode & 0o777 == 0o400  # a copy, the published one is untouched
    codec = load(tmp_path / "ours")
    assert codec.description["source"] == str(vae)
    assert codec.description["mixed_precision"] == "bf16"
    images = torch.randn(2, *IMAGES)
    with torch.no_grad():
        mean = AutoencoderKL.from_pretrained(vae).encode(images).latent_dist.mean
    torch.testing.assert_close(codec.encode(images).mean, mean * 0.5)


def test_old_names_of_attention_weights_are_understood(published, tmp_path):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(weights):
        for name in [name for name in weights if "mid_block.attentions" in name]:
            new = name
            for now, then in old.items():
                new = new.replace(now, then)
            weights[new] = weights.pop(name)

    fetch(published, tmp_path / "new")
    change_weights(published / "vae", rename)
    fetch(published, tmp_path / "old")
    images = torch.randn(2, *IMAGES)
    torch.testing.assert_close(*(load(tmp_path / n).encode(images).mean for n in ("new", "old")))


def test_a_tiny_autoencoder_has_no_posterior(tmp_path):
    torch.manual_seed(0)
    channels = (8, 8, 8)
    model = AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=2.0,
    )
    model.save_pretrained(tmp_path / "tiny")
    fetch(tmp_path / "tiny", tmp_path / "ours", subfolder=None)
    codec, images = load(tmp_path / "ours"), torch.rand(2, *IMAGES) * 2 - 1
    mean, deviation = codec.encode(images)
    with torch.no_grad():
        raw = model.encode(images).latents
        decoded = model.decode(raw).sample
    assert deviation is None and codec.description["class"] == "AutoencoderTiny"
    torch.testing.assert_close(mean, raw * 2)
    torch.testing.assert_close(codec.decode(mean), decoded)


def without(name):
    return lambda folder: (folder / "vae" / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "options", "message"),
    [
        (without(WEIGHTS), {}, rf"with {WEIGHTS}, found \['config.json'\]"),
        (without("config.json"), {}, "with config.json, found"),
        (None, {"subfolder": "unet"}, r"with config.json, found \[\]"),
        (None, {"sha256": "0" * 64}, "expected sha256 0{64}, found [0-9a-f]{64}"),
        (None, {"scaling_factor": 0.7}, "scaling_factor 0.7 as in the config, found 0.5"),
        (
            lambda folder: change_config(folder / "vae", scaling_factor=None),
            {},
            "expected a scaling_factor .* found none",
        ),
        (
            lambda folder: change_config(folder / "vae", latents_mean=[0.0] * 4),
            {},
            "found latents_mean for each channel",
        ),
        (
            lambda folder: change_config(folder / "vae", _class_name="UNet2DModel"),
            {},
            "expected the configuration of AutoencoderKL or AutoencoderTiny, found UNet2DModel",
        ),
        (
            None,
            {"shapes": {"toy": (IMAGES, (8, 4, 4))}},
            r"toy expects latents of shape \(8, 4, 4\), found \(4, 4, 4\)",
        ),
        (
            None,
            {"shapes": {"toy": ((3, 32, 32), LATENTS)}},
            r"toy expects latents of shape \(4, 4, 4\), found \(4, 8, 8\)",
        ),
        (
            None,
            {"shapes": {"toy": ((1, 16, 16), LATENTS)}},
            r"images of dataset toy, shape \(1, 16, 16\), found one that cannot encode",
        ),
        (None, {"name": "no/such/folder"}, "no/such/folder: expected a diffusers folder or a hub"),
        (
            None,
            {"name": "owner/name"},
            r"owner/name: expected a folder, or .* \(its commit, .* found neither",
        ),
        (
            None,
            {"name": "owner/name", "revision": "0" * 40},
            "owner/name/vae at 0{40}: expected config.json on the hub or in its cache, found",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    published, tmp_path, spoil, options, message
):
    if spoil is not None:
        spoil(published)
    with pytest.raises(InputError, match=message):
        fetch(published, tmp_path / "ours", **options)
    assert not (tmp_path / "ours").exists()


def test_a_scaling_factor_that_only_the_config_states_is_kept(published, tmp_path):
    change_config(published / "vae", scaling_factor=None)
    fetch(published, tmp_path / "ours", scaling_factor=0.125)
    assert load(tmp_path / "ours").description["scaling_factor"] == 0.125


def test_what_the_hub_has_is_taken_at_the_commit(published, tmp_path, monkeypatch):
    asked = []

    def download(name, file, *, subfolder, revision):
        asked.append((name, file, subfolder, revision))
        return str(published / "vae" / file)

    monkeypatch.setattr("dansm.models.autoencoders.hf_hub_download", download)
    fetch("owner/name", tmp_path / "ours", revision="a" * 40)
    assert asked == [("owner/name", file, "vae", "a" * 40) for file in ("config.json", WEIGHTS)]
    assert load(tmp_path / "ours").description["source"] == f"owner/name/vae at {'a' * 40}"


def test_a_commit_is_told_from_a_branch():
    with pytest.raises(ValueError, match="revision"):
        PretrainedAutoencoder(kind="pretrained", name="owner/name", revision="main")


def test_a_random_autoencoder_has_latents_of_unit_variance(tmp_path):
    for name in ("one", "two"):
        write_random_autoencoder((3, 32, 32), (4, 4, 4), tmp_path / name)
    assert (tmp_path / "one" / WEIGHTS).read_bytes() == (tmp_path / "two" / WEIGHTS).read_bytes()
    codec = load(tmp_path / "one")
    latents = codec.encode(torch.rand(16, 3, 32, 32) * 2 - 1).mean
    assert tuple(latents.shape) == (16, 4, 4, 4)
    assert float(latents.std()) == pytest.approx(1, abs=0.1)
    assert tuple(codec.decode(latents).shape) == (16, 3, 32, 32)
    assert codec.description["source"] == "an autoencoder of random weights"
