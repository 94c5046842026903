"""Sampling a network: noises to images, in one pass, decoded where it generates latents."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dansm.data.store import Store
from dansm.processes.samplers import Sampler
from dansm.randomness import image_noises

# Latents (n, ...) -> images in [-1, 1]; for pixel datasets the identity.
Decode = Callable[[Tensor], Tensor]

# A batch of latents takes far less memory than its images do inside a large decoder.
DECODED_AT_ONCE = 25


class Images(NamedTuple):
    """Generated images in the store's own type and range, and network evaluations per image.

    The images stay on the network's device.
    """

    images: Tensor
    nfe: float


def generate(
    network: nn.Module,
    sampler: Sampler,
    store: Store,
    decode: Decode,
    *,
    shape: tuple[int, int, int],
    steps: int,
    first: int,
    count: int,
    batch_size: int,
) -> Iterator[Images]:
    """Yield batches of generated images ``first … first + count - 1``.

    Parameters
    ----------
    network
        A ``UNet2DModel`` in evaluation mode.
    sampler
        Made for the network's process.
    store
        The pixel store whose type and value range the images take.
    shape
        Shape of one noise.
    steps
        Of the sampler; 0 where it has its own.
    first, count
        Which images: image k always starts from the same noise.
    """
    device = next(network.parameters()).device

    def predict(points: Tensor, times: Tensor) -> Tensor:
        return network(points, times).sample

    for start in range(first, first + count, batch_size):
        size = min(batch_size, first + count - start)
        noise = image_noises(start, size, shape).to(device)
        with torch.inference_mode():
            samples, nfe = sampler.sample(predict, noise, steps)
            images = [
                store.to_stored_range(decode(part)) for part in samples.split(DECODED_AT_ONCE)
            ]
        yield Images(torch.cat(images), nfe)
