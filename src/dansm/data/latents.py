"""Latent datasets: a pixel store, encoded shard by shard.

Shards are finished one by one in a folder of their own until the store is complete, so an encoding
that was interrupted goes on where it stopped and ends, on the CPU, with the same bytes.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from dansm.data.shards import ShardFolder
from dansm.data.store import ARRAY, DEVIATION, Store, finish_store, mirrored_part, open_store
from dansm.errors import InputError
from dansm.io.files import atomic_path, check_free_space, publish

SHARD_IMAGES = 4096
DECODED_IMAGES = 16
_BATCH = 64


class Posterior(NamedTuple):
    """Means of scaled latents, and their standard deviations where the autoencoder has any."""

    mean: Tensor
    deviation: Tensor | None


class Autoencoder(Protocol):
    """What encodes images; see `dansm.models.autoencoders.Codec`."""

    description: dict[str, Any]

    def encode(self, images: Tensor) -> Posterior:
        """Map images in [-1, 1], shape ``(n, channels, height, width)``, to scaled latents."""

    def decode(self, latents: Tensor) -> Tensor:
        """Map scaled latents to images, about [-1, 1]."""


@dataclass(frozen=True)
class Encoding:
    """What is encoded and how.

    Attributes
    ----------
    store
        Folder of the pixel store.
    load
        Gives the autoencoder on a device, such as ``cuda:1``. Other processes call it too.
    shape
        Shape that one sample's latents must have.
    work
        Folder of the shards until all are there.
    posterior
        Whether standard deviations are stored beside the means.
    mirrored
        Whether the mirrored images are encoded as well.
    shard_images
        Samples in a shard.
    """

    store: Path
    load: Callable[[str], Autoencoder]
    shape: tuple[int, int, int]
    work: Path
    posterior: bool = False
    mirrored: bool = False
    shard_images: int = SHARD_IMAGES

    def shards(self, count: int) -> ShardFolder:
        """Return the folder of the shards that are finished, of so many samples."""
        parts = [ARRAY, DEVIATION] if self.posterior else [ARRAY]
        if self.mirrored:
            parts += [mirrored_part(part) for part in parts]
        return ShardFolder(self.work, parts, count, self.shard_images)


def write_latents(encoding: Encoding, path: Path, decoding: Path, processes: int = 1) -> None:
    """Encode every image of a store into a store of half-precision latents.

    Variances of latents underflow in half precision; their roots, which drawing needs, do not.

    Parameters
    ----------
    path, decoding
        Folder of the new store, and table of the peak signal-to-noise ratio of a few decoded
        latents.
    processes
        How many GPUs share the work, if there are as many, by one process each. Without a GPU the
        CPU does it.

    Raises
    ------
    InputError
        If the latents have another shape, have no deviations to store, or are not finite, or the
        disk is too full.
    """
    store = open_store(encoding.store)
    devices = [f"cuda:{k}" for k in range(min(processes, torch.cuda.device_count()))] or ["cpu"]
    autoencoder = encoding.load(devices[0])
    source, image = autoencoder.description["source"], store.batch(np.arange(1))
    first = check_latents(autoencoder, image, encoding.shape, path.name, source)
    if encoding.posterior and first.deviation is None:
        raise InputError(
            f"{path.name}: posterior sample needs an AutoencoderKL, the autoencoder {source} "
            f"has no posterior; expected posterior mean"
        )
    shards = encoding.shards(len(store))
    missing = shards.take_up(
        {
            "pixels_sha256": store.meta["sha256"],
            "autoencoder": autoencoder.description,
            "shape": list(encoding.shape),
        }
    )
    sample_bytes = 2 * math.prod(encoding.shape) * len(shards.parts)
    size = min(len(store), len(missing) * encoding.shard_images) * sample_bytes
    check_free_space(encoding.work, size, path)
    started = time.perf_counter()
    if len(devices) == 1:
        images = _encode_shards(encoding, devices[0], missing, autoencoder)
    else:
        with ProcessPoolExecutor(len(devices), mp_context=get_context("spawn")) as pool:
            shares = [missing[k :: len(devices)] for k in range(len(devices))]
            images = sum(pool.map(_encode_shards, [encoding] * len(devices), devices, shares))
    seconds = time.perf_counter() - started
    print(
        f"{path.name}: encoded {images} images on {', '.join(devices)} in {seconds:.1f} s, "
        f"{images / seconds:.1f} images/s"
        + (f"; {len(store) - images} had been encoded before" if images < len(store) else ""),
        flush=True,
    )
    published = {part: [path / file.name for file in shards.files(part)] for part in shards.parts}
    for file in chain(*published.values()):
        publish(encoding.work / file.name, file)
    decoded = _check_decoding(store, published[ARRAY], encoding.shard_images, autoencoder)
    with atomic_path(decoding) as partial:
        decoded.to_csv(partial, index=False)
    ratios = decoded["psnr_db"]
    print(f"{path.name}: decoded images, PSNR {ratios.mean():.2f} dB on average", flush=True)
    finish_store(
        path,
        published,
        value_range=None,
        source=f"{encoding.store} encoded by {source}",
        licence=store.meta["licence"],
        labels=store.labels,
        extra={
            "autoencoder": autoencoder.description,
            "pixels_sha256": store.meta["sha256"],
            "decoding": {
                "images": len(ratios),
                "psnr_db_mean": ratios.mean(),
                "psnr_db_lowest": ratios.min(),
            },
        },
    )
    shutil.rmtree(encoding.work)


def check_latents(
    autoencoder: Autoencoder, image: Tensor, shape: Sequence[int], dataset: str, source: str
) -> Posterior:
    """Encode one image, so that what cannot work is known before the long part.

    Parameters
    ----------
    shape
        Expected of its latents.
    dataset, source
        Names of the dataset and of the autoencoder.

    Raises
    ------
    InputError
        If the image cannot be encoded, or its latents have another shape.
    """
    try:
        found = autoencoder.encode(image)
    except RuntimeError as error:
        raise InputError(
            f"{source}: expected an autoencoder for the images of dataset {dataset}, shape "
            f"{tuple(image.shape[1:])}, found one that cannot encode them ({error})"
        ) from error
    if tuple(found.mean.shape[1:]) != tuple(shape):
        raise InputError(
            f"{source}: dataset {dataset} expects latents of shape {tuple(shape)}, found "
            f"{tuple(found.mean.shape[1:])}"
        )
    return found


def _encode_shards(
    encoding: Encoding,
    device: str,
    shards: Sequence[int],
    autoencoder: Autoencoder | None = None,
) -> int:
    """Encode some shards on a device; return how many images they hold."""
    store = open_store(encoding.store)
    autoencoder = autoencoder or encoding.load(device)
    folder = encoding.shards(len(store))
    total = sum(len(folder.rows_of(shard)) for shard in shards)
    with tqdm(total=total, unit="images", desc=f"encoding on {device}", mininterval=1) as progress:
        for shard in shards:
            # On the device until all are there, so that it works while the next batch is read.
            made: dict[str, list[Tensor]] = {part: [] for part in folder.parts}
            rows_of_shard = np.array(folder.rows_of(shard))
            for rows in np.split(rows_of_shard, range(_BATCH, len(rows_of_shard), _BATCH)):
                images = store.batch(rows)
                for flip in (False, True) if encoding.mirrored else (False,):
                    posterior = autoencoder.encode(images.flip(3) if flip else images)
                    for part, values in zip((ARRAY, DEVIATION), posterior, strict=True):
                        name = mirrored_part(part) if flip else part
                        if name in made:
                            made[name].append(values.to(torch.float16))
                progress.update(len(rows))
            arrays = {part: torch.cat(values).cpu().numpy() for part, values in made.items()}
            folder.write(shard, arrays, f"{store.path}, latents of images")
    return total


def _check_decoding(
    store: Store, shards: list[Path], shard_images: int, autoencoder: Autoencoder
) -> pd.DataFrame:
    """Return the peak signal-to-noise ratio of a few images, evenly spaced, in decibel.

    Latents are decoded as they are stored; the peak is the model's range, 2.
    """
    chosen = np.unique(np.linspace(0, len(store) - 1, DECODED_IMAGES).round().astype(int))
    means = [np.load(shards[k // shard_images], mmap_mode="r")[k % shard_images] for k in chosen]
    ratios = []
    for row, mean in zip(chosen, means, strict=True):
        image = store.batch(np.array([row]))
        decoded = autoencoder.decode(torch.from_numpy(mean[None].astype(np.float32))).cpu()
        error = (decoded.clamp(-1, 1) - image).double().square().mean().item()
        ratios.append(10 * math.log10(4 / error))
    return pd.DataFrame({"image": chosen, "psnr_db": ratios})
