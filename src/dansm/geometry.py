"""Geometry of straight paths from noises to samples (paper, section 3)."""

import torch
from torch import Tensor


def path_length(samples: Tensor, noise: Tensor) -> Tensor:
    """Return the Euclidean length of each path, ``‖x − z‖``.

    Parameters
    ----------
    samples, noise
        Tensors of one shape ``(n, ...)``.

    Returns
    -------
    Tensor, shape (n,)
    """
    return torch.linalg.vector_norm((samples - noise).flatten(1), dim=1)


def inter_path_distance(
    noise_a: Tensor, samples_a: Tensor, noise_b: Tensor, samples_b: Tensor
) -> Tensor:
    """Return the smallest distance two paths ever have at the same time.

    The paths are ``(1 − t) z + t x``; the distance is minimised over t in [0, 1]. With
    ``a = z_a − z_b`` and ``b = x_a − x_b`` the minimum is at
    ``t* = clip(a·(a − b) / ‖a − b‖², 0, 1)``.

    Parameters
    ----------
    noise_a, samples_a, noise_b, samples_b
        Tensors of one shape ``(n, ...)``; row i of ``a`` is compared with row i of ``b``.

    Returns
    -------
    Tensor, shape (n,)
    """
    a = (noise_a - noise_b).flatten(1)
    b = (samples_a - samples_b).flatten(1)
    difference = a - b
    squared = difference.square().sum(1)
    # Parallel paths keep one distance for all t; any t* is right, so avoid 0 / 0.
    tiny = torch.finfo(squared.dtype).tiny
    t = ((a * difference).sum(1) / squared.clamp_min(tiny)).clamp(0, 1)[:, None]
    return torch.linalg.vector_norm((1 - t) * a + t * b, dim=1)
