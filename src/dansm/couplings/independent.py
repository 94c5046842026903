"""The vanilla method: a fresh noise for each sample."""

import torch
from torch import Tensor

from dansm.couplings.base import FreshNoiseCoupling


class Independent(FreshNoiseCoupling):
    """Noise drawn independently of the samples."""

    name = "independent"

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        if match_size not in (0, 1):
            raise ValueError(f"match_size {match_size}: independent takes 0 (or 1, the same)")
        super().__init__(match_size=0, seed=seed)

    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the noise as it is drawn; see `FreshNoiseCoupling.choose`."""
        return torch.randn(flat.shape, generator=stream).to(flat)
