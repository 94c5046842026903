"""Autoencoders between images and latents, in diffusers format.

Every autoencoder that the workflow uses is a folder with ``config.json``, its weights as
safetensors and ``report.json``: trained here, fetched from where it is published, or, at reduced
scales, of random weights.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from huggingface_hub import hf_hub_download
from pydantic import BaseModel
from torch import Tensor
from tqdm import tqdm

from dansm.config import PretrainedAutoencoder, Shape, TrainedAutoencoder
from dansm.data.latents import Posterior, check_latents
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import atomic_path, publish, read_json, read_model, sha256, write_json
from dansm.io.records import is_proven
from dansm.models.weights import load_pretrained
from dansm.randomness import generator, stream_seed

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, AutoencoderTiny

REPORT = "report.json"
_CONFIG = "config.json"
_WEIGHTS = "diffusion_pytorch_model.safetensors"
_TINY = "AutoencoderTiny"
_CLASSES = ("AutoencoderKL", _TINY)
_PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16}


def train_autoencoder(settings: TrainedAutoencoder, store: Store, path: Path) -> dict[str, Any]:
    """Train a small AutoencoderKL and save it as a diffusers folder.

    The loss is the mean squared error of reconstructions from sampled latents plus the weighted
    KL divergence from N(0, I). The saved ``scaling_factor`` makes latents of the training images
    have unit variance, as Stable Diffusion's does (Rombach et al., 2022, section G).

    Returns
    -------
    dict
        The report that is also saved as ``report.json``: mean squared error and peak
        signal-to-noise ratio of reconstructions (model range [-1, 1]), scaling factor.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(settings.seed, "autoencoder"))
        model = _small_autoencoder(
            store.array.shape[1:], tuple(settings.channels), settings.latent_channels
        )
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    steps = -(-settings.budget_images // settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    stream = generator(settings.seed, "autoencoder-batches")
    for _ in tqdm(range(steps), unit="batches", desc="autoencoder", mininterval=1):
        rows = torch.randint(len(store), (settings.batch_size,), generator=stream)
        images = store.batch(rows.numpy())
        posterior = model.encode(images).latent_dist
        latents = posterior.mean + posterior.std * torch.randn(
            posterior.mean.shape, generator=stream
        )
        error = (model.decode(latents).sample - images).square().mean()
        divergence = posterior.kl().mean() / images[0].numel()
        optimizer.zero_grad()
        (error + settings.kl_weight * divergence).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    means, squared = [], 0.0
    with torch.no_grad():
        for rows in torch.arange(len(store)).split(settings.batch_size):
            images = store.batch(rows.numpy())
            means.append(model.encode(images).latent_dist.mean)
            reconstructed = model.decode(means[-1]).sample.clamp(-1, 1)
            squared += (reconstructed - images).square().sum().item()
    latents = torch.cat(means)
    error = squared / store.array.size
    report = {
        "source": f"an autoencoder trained on {settings.dataset}",
        "mixed_precision": "no",
        "images": len(store),
        "reconstruction_mse": error,
        "reconstruction_psnr_db": 10 * math.log10(4 / error),
        "scaling_factor": 1 / latents.std().item(),
        "latent_shape": list(latents.shape[1:]),
    }
    _save(model, path, report, report["scaling_factor"])
    return report


def fetch_autoencoder(
    settings: PretrainedAutoencoder, shapes: dict[str, tuple[Shape, Shape]], path: Path
) -> None:
    """Copy a published autoencoder into a folder of ours, after checking that it can be used.

    What its ``config.json`` tells is checked before the weights are fetched.

    Parameters
    ----------
    settings
        A diffusers folder, or a hub name with the commit to take.
    shapes
        By latent dataset: the shape of its images and of its latents.
    path
        Folder to write: ``config.json``, weights and ``report.json``.

    Raises
    ------
    InputError
        If there is no AutoencoderKL or AutoencoderTiny, it has no weights, no or another scaling
        factor, other latents than a dataset expects, or other weights than expected.
    """
    source = str(Path(settings.name, settings.subfolder or ""))
    if not Path(settings.name).is_dir():
        source += f" at {settings.revision}"
    config = _read_config(_find(settings, source, _CONFIG))
    stated, wanted = config.get("scaling_factor"), settings.scaling_factor
    if stated is None and wanted is None:
        raise InputError(
            f"{source}: expected a scaling_factor in {_CONFIG} or in the config's entry of this "
            "autoencoder, found none (Stable Diffusion 1 and 2: 0.18215)"
        )
    if None not in (stated, wanted) and stated != wanted:
        raise InputError(
            f"{source}: expected scaling_factor {wanted} as in the config, found {stated} in "
            f"{_CONFIG}"
        )
    for key in ("latents_mean", "latents_std"):
        if config.get(key) is not None:
            raise InputError(
                f"{source}: expected latents scaled by one factor, found {key} for each channel "
                f"in {_CONFIG}"
            )
    with torch.device("meta"):
        skeleton = Codec(_class(config["_class_name"]).from_config(config), {}, "meta")
    for dataset, (images, latents) in shapes.items():
        image = torch.empty(1, *images, device="meta")
        check_latents(skeleton, image, latents, dataset, source)
    weights = _find(settings, source, _WEIGHTS)
    digest = sha256(weights)
    if settings.sha256 not in (None, digest):
        raise InputError(f"{weights}: expected sha256 {settings.sha256}, found {digest}")
    with atomic_path(path / _WEIGHTS) as partial:
        shutil.copyfile(weights, partial)
    write_json(path / _CONFIG, {**config, "scaling_factor": wanted or stated})
    write_json(path / REPORT, {"source": source, "mixed_precision": settings.mixed_precision})
    Codec.load(path, "cpu")


def autoencoder_skeleton(
    settings: TrainedAutoencoder | PretrainedAutoencoder | None,
    shapes: tuple[Shape, Shape],
    folder: Path,
) -> Codec:
    """Return an autoencoder without weights, on the device ``meta``: to count what it computes.

    Parameters
    ----------
    settings
        None for the stand-in of `write_random_autoencoder`.
    shapes
        Of an image and its latents.
    folder
        Where the autoencoder is, or will be: a published one that is not there yet is taken to be
        built like Stable Diffusion's.
    """
    images, latents = shapes
    with torch.device("meta"):
        if (folder / _CONFIG).exists():
            config = _read_config(folder / _CONFIG)
            model = _class(config["_class_name"]).from_config(config)
        elif settings is None:
            model = _standin(images, latents)
        elif isinstance(settings, TrainedAutoencoder):
            model = _small_autoencoder(images, tuple(settings.channels), latents[0])
        else:
            model = _class("AutoencoderKL")(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                latent_channels=latents[0],
            )
    return Codec(model, {}, "meta")


def write_random_autoencoder(images: Shape, latents: Shape, path: Path) -> None:
    """Save an AutoencoderKL of random weights: a stand-in that is small and needs no download.

    Parameters
    ----------
    images, latents
        Shape of an image and of its latents, whose sides differ by a power of two.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "random-autoencoder"))
        model = _standin(images, latents)
        noise = torch.rand(8, *images) * 2 - 1
    with torch.no_grad():
        deviation = model.encode(noise).latent_dist.mean.std().item()
    report = {"source": "an autoencoder of random weights", "mixed_precision": "no"}
    _save(model, path, report, 1 / deviation)


class Codec:
    """Encodes images into scaled latents and decodes them, or leaves both as they are.

    Parameters
    ----------
    model
        The autoencoder; None for datasets whose network sees pixels.
    description
        What is known about it: source, class, checksum of its weights, scaling, precision.
    """

    def __init__(
        self,
        model: AutoencoderKL | AutoencoderTiny | None,
        description: dict[str, Any],
        device: str,
    ) -> None:
        self.description = description
        self.model = model
        if model is not None:
            model.to(device).eval().requires_grad_(False)
            self._shift = model.config.get("shift_factor") or 0.0
            self._scale = model.config["scaling_factor"]
        self._autocast: AbstractContextManager = nullcontext()
        precision = description.get("mixed_precision", "no")
        # The CPU computes in single precision; half precision would only slow it down.
        if precision != "no" and device.startswith("cuda"):
            self._autocast = torch.autocast("cuda", dtype=_PRECISIONS[precision])

    @classmethod
    def load(cls, folder: str | Path | None, device: str | None = None) -> Codec:
        """Load an autoencoder from a folder that one of this module's functions wrote.

        Parameters
        ----------
        folder
            Nothing for datasets whose network sees pixels.
        device
            The GPU, if there is one, unless another is named.

        Raises
        ------
        InputError
            If the folder holds no complete autoencoder with finite weights.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if not folder:
            return cls(None, {}, device)
        folder = Path(folder)
        is_proven(folder)
        config = _read_config(folder / _CONFIG)
        report = read_model(folder / REPORT, _Report)
        kind = _class(config["_class_name"])
        model = load_pretrained(kind, folder / _WEIGHTS)
        description = {
            "source": report.source,
            "class": kind.__name__,
            "weights_sha256": sha256(folder / _WEIGHTS),
            "scaling_factor": config["scaling_factor"],
            "shift_factor": config.get("shift_factor") or 0.0,
            "mixed_precision": report.mixed_precision,
        }
        return cls(model, description, device)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Return the scaled latents of images: ``(mean − shift) · scaling_factor``.

        An AutoencoderTiny has no posterior, so no deviations.

        Parameters
        ----------
        images
            In [-1, 1], shape ``(n, channels, height, width)``.
        """
        if self.model is None:
            return Posterior(images, None)
        with self._autocast:
            encoded = self.model.encode(images.to(self.model.device))
        tiny = type(self.model).__name__ == _TINY
        mean = encoded.latents if tiny else encoded.latent_dist.mean
        deviation = None if tiny else encoded.latent_dist.std.float() * self._scale
        return Posterior((mean.float() - self._shift) * self._scale, deviation)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the images, about [-1, 1] but not clipped, of scaled latents."""
        if self.model is None:
            return latents
        with self._autocast:
            scaled = latents.to(self.model.device) / self._scale + self._shift
            return self.model.decode(scaled).sample.float()


def _find(settings: PretrainedAutoencoder, source: str, name: str) -> Path:
    """Return one of an autoencoder's files, in its folder or from the hub."""
    if settings.is_folder("a diffusers folder"):
        folder = Path(source)
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: expected a diffusers autoencoder with {name}, found "
                f"{sorted(path.name for path in folder.glob('*'))}"
            )
        return folder / name
    where = {"subfolder": settings.subfolder, "revision": settings.revision}
    try:
        return Path(hf_hub_download(settings.name, name, **where))
    except Exception as error:  # the hub's client raises what its own client for HTTP does
        raise InputError(
            f"{source}: expected {name} on the hub or in its cache, found "
            f"{' '.join(str(error).split())}"
        ) from error


class _Report(BaseModel):
    source: str
    mixed_precision: Literal["no", "fp16", "bf16"]


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found not in _CLASSES:
        raise InputError(
            f"{path}: expected the configuration of {' or '.join(_CLASSES)}, found {found}"
        )
    for key, least in (("scaling_factor", 0), ("shift_factor", -math.inf)):
        value = config.get(key)
        if value is not None and not (isinstance(value, int | float) and least < value < math.inf):
            raise InputError(f"{path}: {key}: expected a number above {least}, found {value}")
    return config


def _class(name: str) -> type[AutoencoderKL | AutoencoderTiny]:
    """Return a class of diffusers, which takes longer to import than torch: pixels need none."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    return {"AutoencoderKL": AutoencoderKL, _TINY: AutoencoderTiny}[name]


def _standin(images: Shape, latents: Shape) -> AutoencoderKL:
    levels = int(math.log2(images[1] // latents[1])) + 1
    return _small_autoencoder(images, (4,) * levels, latents[0])


def _small_autoencoder(shape: Shape, channels: tuple[int, ...], latents: int) -> AutoencoderKL:
    levels = len(channels)
    return _class("AutoencoderKL")(
        in_channels=shape[0],
        out_channels=shape[0],
        sample_size=shape[1],
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=latents,
        norm_num_groups=math.gcd(*channels),
        mid_block_add_attention=False,
    )


def _save(model: AutoencoderKL, path: Path, report: dict[str, Any], scaling_factor: float) -> None:
    model.register_to_config(scaling_factor=scaling_factor)
    path.mkdir(parents=True, exist_ok=True)
    # In the output and hidden, so that a kill leaves nothing that counts as a result.
    with tempfile.TemporaryDirectory(dir=path, prefix=".") as folder:
        model.save_pretrained(folder)
        for file in sorted(Path(folder).iterdir()):
            publish(file, path / file.name)
    write_json(path / REPORT, report)
