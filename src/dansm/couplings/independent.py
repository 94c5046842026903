"""The vanilla method: a fresh noise for each sample."""

import torch
from torch import Tensor

from dansm.couplings.base import FreshNoiseCoupling
from dansm.randomness import normal


class Independent(FreshNoiseCoupling):
    """Noise drawn independently of the samples."""

    name = "independent"

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        super().__init__(0 if match_size == 1 else match_size, seed)  # a choice of one is none

    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the noise as it is drawn; see `FreshNoiseCoupling.choose`."""
        return normal(flat.shape, stream).to(flat)
