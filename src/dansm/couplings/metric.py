"""The metric in which samples and noises are compared.

A pool or a dataset of N candidates can bring a noise only so near to its sample: the cosine of the
two grows like √(2 ln N / d) in d dimensions. Under the covariance of the data what there is goes
where the data vary, which is what few sampling steps must get right, instead of being spread over
directions in which hardly anything happens.
"""

import psutil
import torch
from torch import Tensor

_BLOCK = 16384  # samples at a time


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
    needed = 2 * 8 * d * d
    free = psutil.virtual_memory().available
    if flat.device.type == "cuda":
        free = torch.cuda.mem_get_info(flat.device)[0]
    if needed > free:
        raise ValueError(
            f"metric covariance: {d} dimensions need {needed / 2**30:.1f} GiB, found "
            f"{free / 2**30:.1f} GiB of free memory"
        )
    mean = flat.mean(dim=0, dtype=torch.float64)
    total = torch.zeros(d, d, dtype=torch.float64, device=flat.device)
    for block in flat.split(_BLOCK):
        centred = block.double() - mean
        total.addmm_(centred.T, centred)
    trace = total.trace()
    if not trace > 0:
        raise ValueError("metric covariance: expected samples that differ, found equal ones")
    return (total * (d / trace)).to(torch.promote_types(flat.dtype, torch.float32))
