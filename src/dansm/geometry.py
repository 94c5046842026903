"""Geometry of straight paths from noises to samples (paper, section 3)."""

from typing import NamedTuple

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


class PathSeparation(NamedTuple):
    """Distances of each path to all the others, each of shape (n,), float64."""

    average: Tensor
    minimum: Tensor


def path_separation(samples: Tensor, noise: Tensor, block: int = 512) -> PathSeparation:
    """Return the average and minimum inter-path distance of each path to all others.

    The paths are ``(1 − t) z + t x``, t in [0, 1], and the distance of two is the smallest that
    they ever have at the same time. With ``a = z_i − z_j`` and ``b = x_i − x_j`` that time is
    ``t* = clip(a·(a − b) / ‖a − b‖², 0, 1)``; parallel paths keep one distance for all t. Every
    pair's distance comes from three matrix products (noises with noises, samples with
    samples, noises with samples) in float64, so no array larger than ``block × n`` is made.

    Parameters
    ----------
    samples, noise
        Tensors of one shape ``(n, ...)``, n at least 2.
    block
        Paths compared with all others at a time.

    Raises
    ------
    ValueError
        If the shapes differ or there are fewer than two paths.
    """
    if samples.shape != noise.shape or len(samples) < 2:
        raise ValueError(
            "expected samples and noise of one shape (n, ...) with n at least 2, "
            f"found {tuple(samples.shape)} and {tuple(noise.shape)}"
        )
    x, z = samples.flatten(1).double(), noise.flatten(1).double()
    xx, zz, xz = (x * x).sum(1), (z * z).sum(1), (x * z).sum(1)
    average, minimum = torch.empty_like(xx), torch.empty_like(xx)
    for first in range(0, len(x), block):
        rows = slice(first, first + block)
        # ‖a‖², ‖b‖² and a·b of all pairs of the block.
        aa = zz[rows, None] + zz - 2 * (z[rows] @ z.T)
        bb = xx[rows, None] + xx - 2 * (x[rows] @ x.T)
        ab = xz[rows, None] + xz - z[rows] @ x.T - x[rows] @ z.T
        squared = aa + bb - 2 * ab  # ‖a − b‖²
        t = ((aa - ab) / squared.clamp_min(torch.finfo(x.dtype).tiny)).clamp(0, 1)
        distance = (aa - 2 * t * (aa - ab) + t * t * squared).clamp_min(0).sqrt()
        own = torch.arange(len(distance), device=x.device)
        distance[own, first + own] = 0
        average[rows] = distance.sum(1) / (len(x) - 1)
        distance[own, first + own] = torch.inf
        minimum[rows] = distance.amin(1)
    return PathSeparation(average, minimum)


def nearest_in_batch(samples: Tensor, noise: Tensor) -> Tensor:
    """Tell for each pair whether no other noise of the batch is nearer to the sample.

    Of preferable noises (those from which a trained model generates the samples) the share is the
    paper's evidence that they are near.

    Parameters
    ----------
    samples, noise
        Tensors of one shape ``(n, ...)``.

    Returns
    -------
    Tensor, shape (n,), bool
    """
    return torch.cdist(samples.flatten(1), noise.flatten(1)).argmin(1) == torch.arange(
        len(samples), device=samples.device
    )
