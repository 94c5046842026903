"""Distances between sets of features, by clean-fid's functions."""

import numpy as np
from cleanfid.fid import frechet_distance as cleanfid_frechet_distance
from cleanfid.fid import kernel_distance as cleanfid_kernel_distance

from dansm.evaluation.features import ReferenceFeatures
from dansm.randomness import stream_seed

KERNEL_SUBSETS = 20


def frechet_distance(features: np.ndarray, reference: ReferenceFeatures) -> float:
    """Return the Fréchet distance of Gaussians fitted to two sets of features.

    It is called FID only if the features are Inception's (Heusel et al., 2017).

    Parameters
    ----------
    features
        Shape ``(n, d)``.

    Raises
    ------
    ValueError
        If features are not finite, or fewer than two.
    """
    _check(features)
    mine = ReferenceFeatures.of(features)
    return float(
        cleanfid_frechet_distance(mine.mean, mine.covariance, reference.mean, reference.covariance)
    )


def kernel_distance(features: np.ndarray, reference: ReferenceFeatures) -> float:
    """Return the kernel distance (KID, Bińkowski et al., 2018), mean over 20 random subsets."""
    _check(features)
    # clean-fid draws its subsets from numpy's global generator; lend it a stream of our own.
    state = np.random.get_state()
    np.random.seed(stream_seed(0, "kernel-distance") % 2**32)
    try:
        size = min(len(features), len(reference.features), 1000)
        return float(
            cleanfid_kernel_distance(
                features, reference.features, num_subsets=KERNEL_SUBSETS, max_subset_size=size
            )
        )
    finally:
        np.random.set_state(state)


def _check(features: np.ndarray) -> None:
    if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
        raise ValueError(
            f"features: expected at least two finite rows, found shape {features.shape}"
        )
