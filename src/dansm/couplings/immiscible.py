"""Immiscible Diffusion (Li et al., NeurIPS 2024, arXiv 2406.12303): assignment inside the batch.

Each batch gets as many fresh noises as it has samples, and the assignment with the least sum of
distances ‖x − n‖ decides who gets which (not squared, unlike minibatch optimal transport). Every
noise is used exactly once, so the noise is exactly Gaussian in every batch.
"""

from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import FreshNoiseCoupling, check_costs
from dansm.couplings.hungarian import assign_optimally
from dansm.randomness import normal

# Both sides shrink by this factor before they are rounded, as in the authors' code: it keeps
# distances of long vectors within half precision and leaves their order unchanged.
_SCALE = 0.1


class Immiscible(FreshNoiseCoupling):
    """Optimal assignment of each batch to as many fresh noises.

    Parameters
    ----------
    match_size
        0: the batch is the set.
    seed
        Seed of the noise.
    quantized
        Assign as the paper does for speed: samples and noises, times 0.1, are rounded to half
        precision, and so are the distances between them. The noise handed out is not rounded.
    """

    name = "immiscible"
    _squares = 4

    def __init__(self, match_size: int = 0, seed: int = 0, quantized: bool = False) -> None:
        super().__init__(match_size, seed)
        self.quantized = quantized

    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the assigned noise; see `FreshNoiseCoupling.choose`."""
        noise = normal(flat.shape, stream).to(flat)
        if self.quantized:
            rounded = [(_SCALE * side).half().float() for side in (flat, noise)]
            costs = torch.cdist(*rounded).half()
        else:
            costs = torch.cdist(flat, noise)
        check_costs(costs, flat)
        return noise[assign_optimally(costs).to(flat.device)]

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "quantized": self.quantized}
