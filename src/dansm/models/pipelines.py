"""Text-to-image pipelines in diffusers format: fetched, made up, and sampled in latent space.

Every pipeline that the workflow uses is a folder that diffusers opens as a
``StableDiffusionPipeline``, with ``report.json``: a copy of what is published, without its safety
checker, which looks at decoded images only, or, at reduced scales, one of random weights.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import snapshot_download
from pydantic import BaseModel
from torch import Tensor

from dansm.config import Published, Shape
from dansm.errors import InputError
from dansm.io.files import (
    atomic_path,
    check_free_space,
    publish,
    read_json,
    read_model,
    sha256,
    write_json,
)
from dansm.io.records import is_proven
from dansm.models.weights import load_pretrained
from dansm.randomness import stream_seed

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

# diffusers' pipelines and transformers take seconds to import, and only few jobs need them: they
# are imported where they are used.

REPORT = "report.json"
_CLASS = "StableDiffusionPipeline"
_INDEX = "model_index.json"
_SCHEDULER = "scheduler/scheduler_config.json"
_UNET = "unet/config.json"
_CONFIGS = [_INDEX, _SCHEDULER, _UNET, "text_encoder/config.json", "vae/config.json"]
_TOKENIZER = ["tokenizer/*.json", "tokenizer/merges.txt"]
_WEIGHTS = [
    "text_encoder/model.safetensors",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
]
# What these make of a noise is decided by it alone, if their algorithm is not that of an SDE.
_DETERMINISTIC = [
    "DDIMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
]


class _Report(BaseModel):
    source: str
    sha256: dict[str, str]


def fetch_pipeline(settings: Published, shape: Shape, path: Path) -> None:
    """Copy a published pipeline into a folder of ours, after checking that it can be used.

    What its configuration tells is checked before the weights are fetched.

    Parameters
    ----------
    settings
        A diffusers folder, or a hub name with the commit to take.
    shape
        Of its latents.

    Raises
    ------
    InputError
        If it is no StableDiffusionPipeline, its scheduler adds noise, it has other latents, or
        weights are missing or not finite.
    """
    in_folder = settings.is_folder("the folder of a diffusers pipeline")
    source = settings.name if in_folder else f"{settings.name} at {settings.revision}"
    _check_configuration(_find(settings, source, _CONFIGS), shape, source)
    folder = _find(settings, source, [*_CONFIGS, *_WEIGHTS], _TOKENIZER)
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.glob("*/*"))]
    copied = [n for n in names if any(fnmatch(n, p) for p in _CONFIGS + _TOKENIZER + _WEIGHTS)]
    path.mkdir(parents=True, exist_ok=True)
    check_free_space(path, sum((folder / name).stat().st_size for name in copied), path)
    for name in copied:
        with atomic_path(path / name) as partial:
            shutil.copyfile(folder / name, partial)
    left_out = dict.fromkeys(("safety_checker", "feature_extractor", "image_encoder"), [None] * 2)
    index = {**read_json(folder / _INDEX), **left_out, "requires_safety_checker": False}
    write_json(path / _INDEX, index)
    _write_report(path, source)
    load_pipeline(path, "cpu")


def write_random_pipeline(shape: Shape, path: Path) -> None:
    """Save a pipeline of random weights: a stand-in that is small and needs no download.

    Parameters
    ----------
    shape
        Of its latents, with sides divisible by 4.
    """
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    # Every byte, within a word and at its end, so that no word is unknown.
    within = sorted(ByteLevel.alphabet())
    words = [*within, *(f"{byte}</w>" for byte in within), "<|startoftext|>", "<|endoftext|>"]
    path.mkdir(parents=True, exist_ok=True)
    # In the output and hidden, so that a kill leaves nothing that counts as a result.
    with tempfile.TemporaryDirectory(dir=path, prefix=".") as made:
        vocabulary = Path(made, "vocab.json")
        vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
        merges = Path(made, "merges.txt")
        merges.write_text("#version: 0.2\n")
        tokenizer = CLIPTokenizer.from_pretrained(made, model_max_length=77)
        vocabulary.unlink()
        merges.unlink()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(0, "random-pipeline"))
            pipeline = StableDiffusionPipeline(
                vae=AutoencoderKL(
                    block_out_channels=(4,) * 4,
                    down_block_types=("DownEncoderBlock2D",) * 4,
                    up_block_types=("UpDecoderBlock2D",) * 4,
                    latent_channels=shape[0],
                    norm_num_groups=4,
                ),
                text_encoder=CLIPTextModel(
                    CLIPTextConfig(
                        vocab_size=len(words),
                        hidden_size=16,
                        intermediate_size=16,
                        num_hidden_layers=1,
                        num_attention_heads=2,
                        bos_token_id=len(words) - 2,
                        eos_token_id=len(words) - 1,
                    )
                ),
                tokenizer=tokenizer,
                unet=UNet2DConditionModel(**_small(shape)),
                # Stable Diffusion's schedule of noise.
                scheduler=DDIMScheduler(
                    beta_start=0.00085,
                    beta_end=0.012,
                    beta_schedule="scaled_linear",
                    clip_sample=False,
                    set_alpha_to_one=False,
                    steps_offset=1,
                ),
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
            )
        pipeline.save_pretrained(made)
        for file in sorted(found for found in Path(made).rglob("*") if found.is_file()):
            publish(file, path / file.relative_to(made))
    _write_report(path, "a pipeline of random weights")


def load_pipeline(folder: Path, device: str) -> "StableDiffusionPipeline":
    """Load a pipeline from a folder that one of this module's functions wrote, in float32.

    Raises
    ------
    InputError
        If the folder holds no complete pipeline with finite weights.
    """
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = Path(folder)
    is_proven(folder)
    kinds = (CLIPTextModel, UNet2DConditionModel, AutoencoderKL)
    parts = {
        # Published text encoders hold positions, too, which are no weights any more.
        Path(name).parent.name: load_pretrained(kind, folder / name, more=True).float().to(device)
        for kind, name in zip(kinds, _WEIGHTS, strict=True)
    }
    try:
        pipeline = StableDiffusionPipeline.from_pretrained(folder, **parts)
    except Exception as error:
        raise InputError(
            f"{folder}: expected a diffusers {_CLASS}, found {' '.join(str(error).split())}"
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample_latents(
    pipeline: "StableDiffusionPipeline",
    prompts: Sequence[str],
    noise: Tensor,
    steps: int,
    guidance_scale: float,
) -> Tensor:
    """Return the latents that a pipeline makes of noises, before their decoding.

    They are scaled as the network sees them. A scheduler whose first noise level is another than
    1 scales the noises itself.

    Parameters
    ----------
    prompts
        One for each noise.
    noise
        From N(0, I), shape ``(n, channels, height, width)``.
    """
    height, width = (side * pipeline.vae_scale_factor for side in noise.shape[2:])
    return pipeline(
        list(prompts),
        height=height,
        width=width,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        latents=noise.to(pipeline.device),
        output_type="latent",
    ).images.cpu()


def read_report(folder: Path) -> dict[str, Any]:
    """Return what is known of a pipeline: its source and the SHA-256 of its weights."""
    return read_model(Path(folder) / REPORT, _Report).model_dump()


def network_skeleton(folder: Path, shape: Shape, small: bool) -> "UNet2DConditionModel":
    """Return a pipeline's network without weights, on ``meta``: to count what it computes.

    Parameters
    ----------
    folder
        Where the pipeline is, or will be: one that is not there yet is taken to be built like
        Stable Diffusion 1.
    small
        Whether that will be `write_random_pipeline`'s.
    """
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        if (folder / _UNET).exists():
            return UNet2DConditionModel.from_config(read_json(folder / _UNET))
        options = {"in_channels": shape[0], "out_channels": shape[0], "cross_attention_dim": 768}
        return UNet2DConditionModel(**(_small(shape) if small else options))


def _small(shape: Shape) -> dict[str, Any]:
    return {
        "in_channels": shape[0],
        "out_channels": shape[0],
        "sample_size": shape[1],
        "block_out_channels": (4, 8, 8),
        # Where there are few places to attend to.
        "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 16,
    }


def _find(
    settings: Published, source: str, expected: Sequence[str], more: Sequence[str] = ()
) -> Path:
    """Return a folder that has the expected files of a pipeline, and more if there are any."""
    folder = Path(settings.name)
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(
                    settings.name, revision=settings.revision, allow_patterns=[*expected, *more]
                )
            )
        except Exception as error:  # the hub's client raises what its own client for HTTP does
            raise InputError(
                f"{source}: expected a {_CLASS} on the hub or in its cache, found "
                f"{' '.join(str(error).split())}"
            ) from error
    for name in expected:
        if not (folder / name).is_file():
            there = sorted(file.relative_to(folder).as_posix() for file in folder.glob("*/*"))
            raise InputError(
                f"{source}: expected a diffusers {_CLASS} with {name}, found {there or 'no files'}"
            )
    return folder


def _check_configuration(folder: Path, shape: Shape, source: str) -> None:
    found = read_json(folder / _INDEX).get("_class_name")
    if found != _CLASS:
        raise InputError(f"{source}: expected a {_CLASS}, found {found} in {_INDEX}")
    scheduler = read_json(folder / _SCHEDULER)
    name, algorithm = scheduler.get("_class_name"), scheduler.get("algorithm_type") or ""
    if name not in _DETERMINISTIC or algorithm.startswith("sde"):
        raise InputError(
            f"{source}: expected a scheduler that adds no noise, one of {_DETERMINISTIC}, found "
            f"{name} {algorithm}".rstrip()
            + f" in {_SCHEDULER}"
        )
    network = read_json(folder / _UNET)
    channels = [network.get(key, 4) for key in ("in_channels", "out_channels")]
    if channels != [shape[0]] * 2:
        raise InputError(
            f"{source}: expected latents of shape {tuple(shape)}, found a network of "
            f"{channels[0]} channels in and {channels[1]} out in {_UNET}"
        )


def _write_report(path: Path, source: str) -> None:
    digests = {name: sha256(path / name) for name in _WEIGHTS}
    write_json(path / REPORT, {"source": source, "sha256": digests})
