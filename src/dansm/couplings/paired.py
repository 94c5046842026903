"""Pairs that are given, for example (noise, sample) pairs of a teacher (reflow builds on it)."""

from typing import Any

from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    Pairs,
    batch_rows,
    check_samples,
    expect_tensor,
)

_BLOCK = 4096  # rows that are checked at a time: the arrays may be memory-mapped


class Paired(Coupling):
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
        expect_tensor("noise", noise)
        expect_tensor("samples", samples)
        if noise.shape != samples.shape:
            raise ValueError(
                "pairs: expected noise and samples of one shape, found noise "
                f"{tuple(noise.shape)} and samples {tuple(samples.shape)}"
            )
        for kind, rows in (("noise", noise), ("samples", samples)):
            if rows.ndim < 2 or rows.numel() == 0 or not rows.is_floating_point():
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
        super().__init__(match_size, seed)
        self._noise = noise
        self._samples = samples

    def pair(self, batch: Batch) -> Pairs:
        """Return the pairs of the batch's rows, with its extras; see `Coupling.pairs`."""
        like = batch.samples
        check_samples(like, tuple(self._samples.shape[1:]), "as the pairs have")
        rows = batch_rows(batch, len(self._samples))
        return Pairs(self._samples[rows].to(like), self._noise[rows].to(like), batch.extras)

    def _identity(self) -> dict[str, Any]:
        return {**super()._identity(), "shape": tuple(self._samples.shape)}
