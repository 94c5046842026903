"""Improved Immiscible Diffusion (Li et al., 2025, arXiv 2505.18521): the best of k fresh noises.

Noises that no sample chose are thrown away, so the noise is no longer Gaussian: it leans towards
the samples and its variance is below 1. At sampling the network starts from a distribution that
it was not trained on.
"""

import torch
from torch import Tensor

from dansm.couplings.base import FreshNoiseCoupling, check_costs
from dansm.randomness import normal


class Knn(FreshNoiseCoupling):
    """Each sample takes the nearest of its own ``match_size`` noises (the paper's KNN selection).

    Candidates are drawn and compared one per sample at a time, so memory does not grow with their
    number; drawing them, on the CPU, is most of the cost.
    """

    name = "knn"
    sized = True

    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the nearest noise; see `FreshNoiseCoupling.choose`."""
        nearest = torch.empty_like(flat)
        least = torch.full_like(flat[:, 0], torch.inf)
        for _ in range(self.match_size):
            noise = normal(flat.shape, stream).to(flat)
            # ‖n‖² − 2 x·n, which ranks a sample's noises as ‖x − n‖² does.
            costs = (noise * (noise - 2 * flat)).sum(dim=1)
            nearer = costs < least
            nearest[nearer], least[nearer] = noise[nearer], costs[nearer]
        check_costs(least, flat)
        return nearest
