"""The vanilla method: a fresh noise for each sample."""

from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import OnlineCoupling, check_samples
from dansm.randomness import generator


class Independent(OnlineCoupling):
    """Noise drawn independently of the samples."""

    name = "independent"

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        if match_size not in (0, 1):
            raise ValueError(f"match_size {match_size}: independent takes 0 (or 1, the same)")
        super().__init__(match_size=0, seed=seed)
        self._batches = 0

    def match(self, samples: Tensor) -> Tensor:
        """Return fresh Gaussian noise; see `OnlineCoupling.match`."""
        check_samples(samples)
        stream = generator(self.seed, "noise", self._batches)
        self._batches += 1
        return torch.randn(samples.shape, generator=stream).to(samples)

    def progress(self) -> dict[str, Any]:
        """Return the number of batches matched."""
        return {"batches": self._batches}

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Continue after that many batches."""
        self._batches = progress["batches"]
