"""What is exported gives the run's own samples by plain diffusers, and can be begun with again."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from huggingface_hub import ModelCard

from dansm.catalogue import Pick
from dansm.errors import InputError
from dansm.io.files import write_json
from dansm.io.tables import DISTANCE_COLUMNS, run_columns, write_table
from dansm.models.autoencoders import Codec, write_random_autoencoder
from dansm.models.diffusers_folder import load_model_folder
from dansm.models.networks import make_network
from dansm.models.trained import load_model
from dansm.processes.samplers import Sampler
from dansm.publish.export import export_run
from dansm.randomness import image_noises
from dansm.training.trainer import Trainer

from ..factories import make_settings, write_run

NETWORK = {
    "channels": [4, 8],
    "layers_per_block": 1,
    "attention_at": [2],
    "dropout": 0.1,
    "norm_groups": 2,
}
NOISE = image_noises(0, 4, (1, 4, 4))


def settings_of(process):
    return make_settings(process=process, network=NETWORK)


@pytest.fixture(params=["rectified_flow", "diffusion"])
def settings(request):
    return settings_of(request.param)


@pytest.fixture
def run(tmp_path, settings):
    return write_run(tmp_path / "run", "vanilla", settings)


def ours(run, settings, steps):
    network = load_model(run, settings, "cpu")
    with torch.no_grad():
        sampler = Sampler(settings.process, Pick("euler"))
        return sampler.sample(lambda x, t: network(x, t).sample, NOISE, steps).samples


def theirs(folder, steps):
    model = UNet2DModel.from_pretrained(folder).eval()
    name = json.loads((folder / "scheduler_config.json").read_text())["_class_name"]
    if name == "DDIMScheduler":
        scheduler = DDIMScheduler.from_pretrained(folder)
        scheduler.set_timesteps(steps)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder)
        scheduler.set_timesteps(sigmas=np.linspace(0.999, 0, steps, endpoint=False))
    points = NOISE
    with torch.no_grad():
        for time in scheduler.timesteps:
            points = scheduler.step(model(points, time).sample, time, points).prev_sample
    return points


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_plain_diffusers_gives_the_same_samples(tmp_path, run, settings, steps):
    export_run(run, tmp_path / "model", "none")
    expected = ours(run, settings, steps)
    torch.testing.assert_close(theirs(tmp_path / "model", steps), expected, rtol=1e-6, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "diffusion_pytorch_model.safetensors",
        "scheduler_config.json",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": "cosine", "prediction": "velocity"},
        {"zero_snr": True, "prediction": "velocity"},
        {"zero_snr": True, "schedule": "cosine", "prediction": "data"},
        {"prediction": "data"},
    ],
)
def test_a_diffusions_schedule_and_prediction_are_told(tmp_path, options):
    settings = settings_of({"diffusion": options})
    run = write_run(tmp_path / "run", "vanilla", settings)
    export_run(run, tmp_path / "model", "none")
    expected = ours(run, settings, 5)
    torch.testing.assert_close(theirs(tmp_path / "model", 5), expected, rtol=1e-5, atol=1e-5)


def test_other_schedulers_of_flows_follow_the_same_path(tmp_path):
    """Small steps end where ours do, but for the thousandth by which the paper's are longer."""
    settings = settings_of("rectified_flow")
    run = write_run(tmp_path / "run", "vanilla", settings)
    export_run(run, tmp_path / "model", "none")
    model = UNet2DModel.from_pretrained(tmp_path / "model").eval()
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=999, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    scheduler.set_timesteps(20)
    points = NOISE
    with torch.no_grad():
        for time in scheduler.timesteps:
            points = scheduler.step(model(points, time).sample, time, points).prev_sample
    torch.testing.assert_close(points, ours(run, settings, 50), rtol=0, atol=0.02)


def test_the_cards_code_samples_and_its_facts_are_the_runs(tmp_path, run, settings, monkeypatch):
    one = run_columns("vanilla", settings) | {"sampler": "euler", "steps": 3, "nfe": 3}
    measured = {"metric": "frechet_distance", "feature_extractor": "classifier"}
    rows = [
        one | measured | {"images_seen": seen, "image_set": k, "n_samples": 500, "value": value}
        for seen, k, value in ((16, 0, 99), (32, 0, 20), (32, 1, 22))
    ]
    rows = [row | {"reference": "training"} for row in rows]
    write_table(run / "distances.csv", rows, DISTANCE_COLUMNS)
    export_run(run, tmp_path / "model", "CC BY 4.0")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    assert card.data.license_name == "CC BY 4.0" and card.data.library_name == "diffusers"
    assert settings.process.name in card.data.tags
    record = json.loads((run / "run.json").read_text())
    for fact in ("vanilla on toy", "32 images in batches of 8, seed 0", record["model_sha256"]):
        assert fact in card.text
    # Mean and Student's interval of 20 and 22.
    assert re.search(r"training images.*\| Euler, 3 steps \| 3 \| 2 × 500 \| 21 ± 13 \|", card.text)
    (code,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path / "model")
    monkeypatch.setattr(torch, "randn", lambda *shape: NOISE)
    found = {}
    exec(code, found)
    expected = (ours(run, settings, 10).clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(found["images"], expected, rtol=1e-6, atol=1e-5)


def test_a_model_of_latents_takes_its_autoencoder_along(tmp_path, monkeypatch):
    settings = settings_of("rectified_flow")
    run = write_run(tmp_path / "run", "vanilla", settings)
    write_random_autoencoder((1, 8, 8), (1, 4, 4), tmp_path / "autoencoder")
    export_run(run, tmp_path / "model", "none", tmp_path / "autoencoder")
    card = ModelCard.load(tmp_path / "model" / "README.md")
    (code,) = re.findall(r"```python\n(.*?)```", card.text, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path / "model")
    monkeypatch.setattr(torch, "randn", lambda *shape: NOISE)
    found = {}
    exec(code, found)
    expected = Codec.load(tmp_path / "autoencoder", "cpu").decode(ours(run, settings, 10))
    torch.testing.assert_close(
        found["images"], (expected.clamp(-1, 1) + 1) / 2, rtol=1e-6, atol=1e-5
    )


def test_a_run_begins_with_what_was_exported(tmp_path, run, settings, make_store):
    export_run(run, tmp_path / "model", "none")
    weights = tmp_path / "model" / "diffusion_pytorch_model.safetensors"
    store = make_store(np.zeros((8, 1, 4, 4), np.uint8), (0, 16))
    begun = make_settings(
        process=settings.process, network=NETWORK, start={"folder": tmp_path / "model"}
    )
    trainer = Trainer(begun, store, tmp_path / "begun", start=weights)
    expected = load_model(run, settings, "cpu").state_dict()
    for name, found in trainer.bare_network.state_dict().items():
        torch.testing.assert_close(found, expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": "interpolant"}, "^process interpolant: expected one that diffusers samples"),
        ({"process": "edm"}, "^process edm: expected one that diffusers samples"),
        (
            {"network": NETWORK | {"patch": 2}},
            "^ShapedUNet: expected a network that diffusers has",
        ),
        ({"network": NETWORK | {"two_times": True}}, "^ShapedUNet: expected a network that di"),
    ],
)
def test_a_model_that_diffusers_cannot_hold_is_refused(tmp_path, changes, message):
    run = write_run(tmp_path / "run", "other", make_settings(**{"network": NETWORK} | changes))
    with pytest.raises(InputError, match=message):
        export_run(run, tmp_path / "model", "none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_what_cannot_be_exported_or_written_is_one_line(tmp_path):
    settings = settings_of("diffusion")
    (tmp_path / "begun").mkdir()
    with pytest.raises(InputError, match=r"begun: expected a finished run, found no run\.json"):
        export_run(tmp_path / "begun", tmp_path / "model", "none")
    run = write_run(tmp_path / "run", "vanilla", settings)
    with pytest.raises(InputError, match="begun: expected the name of a new folder, found one"):
        export_run(run, tmp_path / "begun", "none")
    with pytest.raises(InputError, match="expected a name in a folder that exists"):
        export_run(run, tmp_path / "no" / "model", "none")
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-9] ^= 4
    (run / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"model\.safetensors: expected sha256"):
        export_run(run, tmp_path / "model", "none")
    assert not (tmp_path / "model").exists()


def change(path, **values):
    write_json(path, json.loads(path.read_text()) | values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda model: (model / "scheduler_config.json").unlink(), "found no scheduler_config"),
        (lambda model: shutil.rmtree(model), "expected a diffusers folder, found no config.json"),
        (lambda model: (model / "config.json").write_text("[]"), "expected keys with values"),
        (lambda model: change(model / "config.json", _class_name="UNet2DConditionModel"),
         "_class_name: expected UNet2DModel"),
        (lambda model: change(model / "config.json", block_out_channels=[4, 4]),
         r"block_out_channels: expected \[4, 8\], found \[4, 4\]"),
        (lambda model: change(model / "config.json", norm_eps=1e-6), "norm_eps: expected 1e-05"),
        (lambda model: change(model / "scheduler_config.json", num_train_timesteps=500),
         "num_train_timesteps: expected (999|1000), found 500"),
        (lambda model: change(model / "scheduler_config.json", _class_name="PNDMScheduler"),
         "expected one of .*, found PNDMScheduler"),
        (lambda model: (model / "diffusion_pytorch_model.safetensors").write_bytes(b"1"),
         "expected a complete safetensors file"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_such_a_model_is_named(tmp_path, run, settings, damage, message):
    export_run(run, tmp_path / "model", "none")
    damage(tmp_path / "model")
    network = make_network(settings.network, settings.shape)
    with pytest.raises(InputError, match=message) as caught:
        load_model_folder(tmp_path / "model", network, settings.network, settings.shape)
    assert str(tmp_path / "model") in str(caught.value) and "\n" not in str(caught.value)
