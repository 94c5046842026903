"""Batches of samples in the order of training."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dansm.config import RunSettings
from dansm.couplings import Batch
from dansm.data.pair_store import PairStore
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.randomness import generator


class ShuffledBatches:
    """An endless stream of batches: each epoch visits every sample once, in an order of its own.

    Batches run on across epochs, so all have the same size. The stream is addressed by
    ``position``, the number of batches already taken. Latents with a posterior are drawn anew each
    time.
    """

    def __init__(
        self, source: Store | PairStore, settings: RunSettings, rank: int, ranks: int
    ) -> None:
        if settings.batch_size % ranks:
            raise InputError(
                f"batch_size {settings.batch_size}: expected a multiple of {ranks} processes"
            )
        self._source = source
        self._settings = settings
        self._share = slice(rank, None, ranks)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self.position = 0
        self.device = torch.device("cpu")

    def __iter__(self) -> Iterator[Batch]:
        while True:
            seed, size = self._settings.seed, self._settings.batch_size
            rows = self._rows(self.position * size, size)[self._share]
            mirrored = noise = None
            if self._settings.horizontal_flips:
                flips = torch.rand(size, generator=generator(seed, "flips", self.position))
                mirrored = flips[self._share] < 0.5
            if self._source.has_posterior:
                stream = generator(seed, "posterior", self.position)
                shape = (size, *self._settings.shape)
                noise = torch.randn(shape, generator=stream)[self._share]
            samples = self._source.draw(rows.numpy(), mirrored, noise)
            self.position += 1
            yield Batch(samples.to(self.device), {"row": rows})

    def _rows(self, first: int, count: int) -> Tensor:
        """Return which samples come at places ``first … first + count - 1`` of the stream."""
        parts = []
        while count > 0:
            epoch, place = divmod(first, len(self._source))
            if epoch != self._epoch:
                self._epoch = epoch
                stream = generator(self._settings.seed, "order", epoch)
                self._order = torch.randperm(len(self._source), generator=stream)
            parts.append(self._order[place : place + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)
