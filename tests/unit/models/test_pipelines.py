"""Text-to-image pipelines: a stand-in, what they make of noises, and what is refused of others."""

import json
import shutil

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from dansm.config import Published
from dansm.errors import InputError
from dansm.io.files import read_json, sha256
from dansm.models.pipelines import (
    fetch_pipeline,
    load_pipeline,
    network_skeleton,
    read_report,
    sample_latents,
    write_random_pipeline,
)

SHAPE = (4, 8, 8)
PROMPTS = ["a pear", "Two birds, a tree"]
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "random"
    before = torch.get_rng_state()
    write_random_pipeline(SHAPE, path)
    assert torch.equal(torch.get_rng_state(), before)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    """A published pipeline that a test may damage."""
    shutil.copytree(folder, tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture(scope="module")
def noise():
    return torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))


def predicted(pipeline, points, time, guidance):
    """Return the noise in points, as classifier-free guidance has it."""
    with torch.no_grad():

        def of(prompts):
            tokens = pipeline.tokenizer(prompts, padding="max_length", return_tensors="pt")
            text = pipeline.text_encoder(tokens.input_ids).last_hidden_state
            return pipeline.unet(points, time, text).sample

        without = of([""] * len(PROMPTS))
        return without + guidance * (of(PROMPTS) - without)


def test_latents_are_those_of_ddim_from_the_noises(folder, noise):
    pipeline = load_pipeline(folder, "cpu")
    found = sample_latents(pipeline, PROMPTS, noise, 3, 2.5)
    # Stable Diffusion's schedule, in which step k of 3 is from time 1 + 333 k.
    kept = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000).double() ** 2, 0)
    points = noise.double()
    for time, following in ((667, 334), (334, 1), (1, 0)):
        error = predicted(pipeline, points.float(), torch.tensor(time), 2.5).double()
        clean = (points - (1 - kept[time]).sqrt() * error) / kept[time].sqrt()
        points = kept[following].sqrt() * clean + (1 - kept[following]).sqrt() * error
    torch.testing.assert_close(found, points.float(), rtol=1e-4, atol=1e-4)


def test_a_scheduler_that_begins_at_another_level_scales_the_noises(folder, noise):
    pipeline = load_pipeline(folder, "cpu")
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    found = sample_latents(pipeline, PROMPTS, noise, 2, 1.0)
    sigmas, times = pipeline.scheduler.sigmas, pipeline.scheduler.timesteps
    assert sigmas[0] > 1 and sigmas[-1] == 0
    # Without guidance the network sees the prompts alone.
    points = noise * (sigmas[0] ** 2 + 1).sqrt()
    for k, time in enumerate(times):
        error = predicted(pipeline, points / (sigmas[k] ** 2 + 1).sqrt(), time, 1.0)
        points = points + (sigmas[k + 1] - sigmas[k]) * error
    torch.testing.assert_close(found, points, rtol=1e-4, atol=1e-4)


def test_the_pipelines_own_call_makes_the_same_of_a_noise(folder, noise):
    ours = sample_latents(load_pipeline(folder, "cpu"), PROMPTS, noise, 4, 7.5)
    own = StableDiffusionPipeline.from_pretrained(folder)
    options = {"num_inference_steps": 4, "guidance_scale": 7.5, "height": 64, "width": 64}
    latents = own(PROMPTS, latents=noise, output_type="latent", **options).images
    assert torch.equal(ours, latents)
    # Whole pipelines, which decode them too.
    assert own(PROMPTS, latents=noise, output_type="np", **options).images.shape == (2, 64, 64, 3)


def test_a_published_pipeline_is_copied_without_its_safety_checker(folder, copied, noise, tmp_path):
    checker = copied / "safety_checker"
    checker.mkdir()
    (checker / "model.safetensors").write_bytes(b"large")
    (copied / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"large")
    index = read_json(copied / "model_index.json")
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (copied / "model_index.json").write_text(json.dumps(index))
    fetch_pipeline(Published(name=str(copied)), SHAPE, tmp_path / "ours")
    made = {file.relative_to(tmp_path / "ours").as_posix() for file in tmp_path.glob("ours/*/*")}
    assert UNET in made and not any("safety" in name or "fp16" in name for name in made)
    report = read_report(tmp_path / "ours")
    assert report["source"] == str(copied) and len(report["sha256"]) == 3
    assert report["sha256"][UNET] == sha256(copied / UNET)
    found, expected = (
        sample_latents(load_pipeline(path, "cpu"), PROMPTS, noise, 2, 3.0)
        for path in (tmp_path / "ours", folder)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("file", "changes", "expected"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"},
         "expected a StableDiffusionPipeline, found FluxPipeline in model_index.json"),
        ("scheduler/scheduler_config.json", {"_class_name": "EulerAncestralDiscreteScheduler"},
         "expected a scheduler that adds no noise, one of ['DDIMScheduler', "),
        ("scheduler/scheduler_config.json",
         {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
         "found DPMSolverMultistepScheduler sde-dpmsolver++ in scheduler/scheduler_config.json"),
        ("unet/config.json", {"in_channels": 9},
         "expected latents of shape (4, 8, 8), found a network of 9 channels in and 4 out"),
        ("unet/config.json", {"block_out_channels": [8, 8, 8]},
         f"{UNET}: expected the weights of UNet2DConditionModel, found"),
    ],
)  # fmt: skip
def test_another_kind_of_pipeline_is_refused(copied, tmp_path, file, changes, expected):
    (copied / file).write_text(json.dumps(read_json(copied / file) | changes))
    with pytest.raises(InputError) as error:
        fetch_pipeline(Published(name=str(copied)), SHAPE, tmp_path / "ours")
    assert expected in str(error.value)


def test_weights_that_are_missing_or_not_finite_are_named(copied, tmp_path):
    weights = load_file(copied / UNET)
    weights["conv_in.weight"][0] = float("nan")
    save_file(weights, copied / UNET)
    with pytest.raises(InputError, match=f"{UNET}: expected finite weights, found NaN in conv_in"):
        fetch_pipeline(Published(name=str(copied)), SHAPE, tmp_path / "ours")
    del weights["conv_in.weight"]
    save_file(weights, copied / UNET)
    with pytest.raises(InputError, match=r"found others or none for conv_in\.weight"):
        load_pipeline(copied, "cpu")
    (copied / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected a diffusers .* with text_encoder/model\.safe"):
        fetch_pipeline(Published(name=str(copied)), SHAPE, tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("/no/such/folder", None, "expected the folder of a diffusers pipeline or a hub name"),
        ("owner/name", None, "owner/name: expected a folder, or the revision of the hub's"),
        (
            "owner/name",
            "0" * 40,
            f"owner/name at {'0' * 40}: expected a StableDiffusionPipe",
        ),
    ],
)
def test_a_pipeline_that_is_nowhere_is_refused(name, revision, expected, tmp_path):
    with pytest.raises(InputError, match=expected):
        fetch_pipeline(Published(name=name, revision=revision), SHAPE, tmp_path / "ours")


def test_a_pipeline_that_is_not_there_yet_counts_as_stable_diffusions(folder, tmp_path):
    network = network_skeleton(tmp_path, (4, 64, 64), small=False)
    # As published for Stable Diffusion 1.
    assert sum(parameter.numel() for parameter in network.parameters()) == 859_520_964
    small = network_skeleton(tmp_path, SHAPE, small=True).config
    there = network_skeleton(folder, SHAPE, small=False).config
    assert there["block_out_channels"] == list(small["block_out_channels"])
