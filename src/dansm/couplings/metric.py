"""The metric in which samples and noises are compared.

Among N candidates the inner product of a noise with the best sample grows only like √(2 ln N): so
much nearness there is, whatever the dimensions. The Euclidean metric spreads it over all of them.
The covariance of the data, C, puts it where the data vary: samples and noises are compared by
x·Cz. Few sampling steps must get those directions right, and a network learns a pairing that they
decide more easily than one that hangs on every pixel.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from dansm.couplings.base import check_memory, compute_dtype

METRICS = ("euclidean", "covariance")
Weigh = Callable[[Tensor], Tensor]

_BLOCK = 16384  # samples at a time


def weigh(flat: Tensor, metric: str) -> Weigh:
    """Return what a noise is multiplied with before its inner products with samples are taken.

    Parameters
    ----------
    flat
        The dataset, shape (N, d).
    metric
        ``euclidean``: nothing; ``covariance``: `covariance` of the dataset.

    Returns
    -------
    Callable
        From noises (n, d) of any float dtype to the same, weighed.

    Raises
    ------
    ValueError
        If the metric is unknown, or for what `covariance` refuses.
    """
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r}: expected one of {list(METRICS)}")
    if metric == "euclidean":
        return lambda noise: noise
    matrix = covariance(flat)
    return lambda noise: noise @ matrix.to(noise)


def covariance(flat: Tensor) -> Tensor:
    """Return the covariance of samples, scaled to a mean eigenvalue of 1.

    Parameters
    ----------
    flat
        Shape (N, d), any float dtype, N at least 2.

    Returns
    -------
    Tensor, shape (d, d)
        Of the samples' device, in float32 or wider, symmetric.

    Raises
    ------
    ValueError
        If a matrix of that size does not fit the memory, or all samples are equal.
    """
    d = flat.shape[1]
    check_memory(f"metric covariance: a matrix of {d}×{d}", 2 * 8 * d * d, flat.device)
    mean = flat.mean(dim=0, dtype=torch.float64)
    total = torch.zeros(d, d, dtype=torch.float64, device=flat.device)
    for block in flat.split(_BLOCK):
        centred = block.double() - mean
        total.addmm_(centred.T, centred)
    trace = total.trace()
    if not trace > 0:
        raise ValueError("metric covariance: expected samples that differ, found equal ones")
    return (total * (d / trace)).to(compute_dtype(flat))
