"""Autoencoders between images and latents, in diffusers format."""

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from tqdm import tqdm

from dansm.config import TrainedAutoencoder
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.files import publish, write_json
from dansm.randomness import generator, stream_seed


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
        levels = len(settings.channels)
        model = AutoencoderKL(
            in_channels=store.array.shape[1],
            out_channels=store.array.shape[1],
            sample_size=store.array.shape[2],
            block_out_channels=tuple(settings.channels),
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            latent_channels=settings.latent_channels,
            norm_num_groups=math.gcd(*settings.channels),
            mid_block_add_attention=False,
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
    model.register_to_config(scaling_factor=1 / latents.std().item())
    _save_pretrained(model, path)
    report = {
        "images": len(store),
        "reconstruction_mse": error,
        "reconstruction_psnr_db": 10 * math.log10(4 / error),
        "scaling_factor": model.config["scaling_factor"],
        "latent_shape": list(latents.shape[1:]),
    }
    write_json(path / "report.json", report)
    return report


class Codec:
    """Encodes images into scaled latents and decodes them, or leaves both as they are.

    Parameters
    ----------
    model
        The autoencoder; None for datasets whose network sees pixels.
    name
        What to call it in descriptions.
    """

    def __init__(self, model: AutoencoderKL | None, name: str) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = None if model is None else model.to(device).eval().requires_grad_(False)
        self.name = name

    @classmethod
    def load(cls, settings: dict[str, Any] | None, folder: str | Path | None) -> "Codec":
        """Load an autoencoder as the configuration describes it.

        Parameters
        ----------
        settings
            A `TrainedAutoencoder` or `PretrainedAutoencoder` as a dictionary, or None.
        folder
            Where a trained one was saved; unused for others.

        Raises
        ------
        InputError
            If there is no diffusers AutoencoderKL under that folder or name.
        """
        if settings is None:
            return cls(None, "no autoencoder")
        if settings["kind"] == "trained":
            name, options = str(folder), {}
        else:
            name = settings["name"]
            options = {key: settings[key] for key in ("subfolder", "revision")}
        try:
            model = AutoencoderKL.from_pretrained(name, **options)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{name}: expected a diffusers AutoencoderKL (folder or hub name), found {error}"
            ) from error
        return cls(model, name)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled mean latents of images: ``(mean − shift) · scaling_factor``.

        Parameters
        ----------
        images
            In [-1, 1], shape ``(n, channels, height, width)``.
        """
        if self.model is None:
            return images
        shift, scale = self._scaling()
        mean = self.model.encode(images.to(self.model.device)).latent_dist.mean
        return (mean - shift) * scale

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the images, about [-1, 1] but not clipped, of scaled latents."""
        if self.model is None:
            return latents
        shift, scale = self._scaling()
        return self.model.decode(latents.to(self.model.device) / scale + shift).sample

    def _scaling(self) -> tuple[float, float]:
        return self.model.config.get("shift_factor") or 0.0, self.model.config["scaling_factor"]


def _save_pretrained(model: AutoencoderKL, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        model.save_pretrained(folder)
        for file in sorted(Path(folder).iterdir()):
            publish(file, path / file.name)
