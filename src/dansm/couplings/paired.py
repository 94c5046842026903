"""Pairs that are given, for example (noise, sample) pairs of a teacher (reflow builds on it)."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Pairs,
    StatefulCoupling,
    batch_rows,
    check_extras,
    check_no_match_size,
    check_samples,
    check_shape,
)

_BLOCK = 4096  # rows that are checked at a time: the arrays may be memory-mapped


class Paired(StatefulCoupling):
    """Sample and noise of each batch looked up by ``extras["row"]``.

    A batch's own samples give only size, dtype and device.

    Parameters
    ----------
    match_size
        0: there is no pool.
    seed
        Not used; nothing is drawn.
    noise, samples
        Shape (N, ...) each, any float dtype; row i of one belongs to row i of the other. They may
        be memory-mapped and are never copied whole.

    Raises
    ------
    ValueError
        If the match size is not 0, or the two differ in shape, are empty, not floats or not finite.
    """

    name = "paired"

    def __init__(
        self, match_size: int = 0, seed: int = 0, *, noise: Tensor, samples: Tensor
    ) -> None:
        check_no_match_size(self.name, match_size)
        if noise.shape != samples.shape:
            raise ValueError(
                "pairs: expected noise and samples of one shape, found noise "
                f"{tuple(noise.shape)} and samples {tuple(samples.shape)}"
            )
        for kind, rows in (("noise", noise), ("samples", samples)):
            if rows.ndim < 2 or len(rows) == 0 or not rows.is_floating_point():
                raise ValueError(
                    f"{kind}: expected a non-empty array of shape (N, ...) of floats, found shape "
                    f"{tuple(rows.shape)} of {rows.dtype}"
                )
            for first, block in enumerate(rows.split(_BLOCK)):
                if not bool(block.isfinite().all()):
                    bad = int((~block.isfinite().flatten(1).all(dim=1)).nonzero()[0])
                    raise ValueError(
                        f"{kind}: expected finite values, found NaN or infinity in row "
                        f"{first * _BLOCK + bad}"
                    )
        super().__init__(match_size=0, seed=seed)
        self._noise = noise
        self._samples = samples

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield the pairs of each batch's rows, with the batch's extras.

        Raises
        ------
        ValueError
            If a batch is empty, not finite, of another shape than the pairs or without a valid
            ``extras["row"]`` (see `batch_rows`), or an extra has not one row a sample.
        """
        for batch in batches:
            like = batch.samples
            check_samples(like)
            check_extras(batch)
            rows = batch_rows(batch, len(self._samples))
            check_shape(like, tuple(self._samples.shape[1:]), source="as the pairs have")
            yield Pairs(self._samples[rows].to(like), self._noise[rows].to(like), batch.extras)

    def progress(self) -> dict[str, Any]:
        """Return nothing: each batch's pairs depend on its rows alone."""
        return {}

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Take up nothing."""

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "shape": tuple(self._samples.shape)}
