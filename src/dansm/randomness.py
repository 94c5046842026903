"""Random streams: one generator per (seed, purpose, index), never the global one.

Because every stream is addressed rather than consumed, a killed run continues exactly where it
stood without storing generator state, and evaluation cannot disturb training. Generators live on
the CPU, so a stream gives the same numbers whatever device the model runs on.
"""

import hashlib
import operator
from collections.abc import Sequence

import torch


def stream_seed(seed: int, purpose: str, *index: int) -> int:
    """Return the 63-bit seed of the stream ``(seed, purpose, *index)``."""
    # Whole numbers of any type (int, numpy, tensor) name the same stream.
    key = ":".join([str(operator.index(seed)), purpose, *(str(operator.index(i)) for i in index)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") >> 1


def generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """Return a fresh CPU generator at the start of the stream ``(seed, purpose, *index)``."""
    return torch.Generator("cpu").manual_seed(stream_seed(seed, purpose, *index))


def normal(shape: Sequence[int], stream: torch.Generator) -> torch.Tensor:
    """Return the next standard normal numbers of a stream, float32, on the CPU.

    They are the same whatever PyTorch's default type and device are.
    """
    return torch.randn(tuple(shape), generator=stream, dtype=torch.float32, device="cpu")


def image_noises(first: int, count: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the starting noises of images ``first … first + count - 1``.

    Image ``k`` starts from the same noise in every run, whatever the model, batch size or number
    of devices: it has a stream of its own.

    Returns
    -------
    torch.Tensor, shape (count, *shape), float32
    """
    return torch.stack([normal(shape, generator(k, "image")) for k in range(first, first + count)])
