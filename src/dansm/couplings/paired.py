"""Pairs that are given, for example (noise, sample) pairs of a teacher (reflow builds on it)."""

from typing import Any

import torch
from torch import Tensor

from dansm.couplings.base import (
    Batch,
    Coupling,
    Pairs,
    batch_rows,
    check_samples,
    expect_tensor,
    whole_number,
)
from dansm.randomness import generator, normal

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
    generated
        How many of the pairs, the first, were generated; the others are real samples with the
        noises that lead to them. None: all.
    slerp
        How far, at most, the noises of the latter move towards fresh ones on the great circle, as a
        share of the angle (Balanced Conic Rectified Flow, 2025). The share is uniform.
    annealed
        Over the first so many samples noises are ``√(1 − b²) z + b z'`` with z' fresh and b falling
        linearly from 1 to 0 (SlimFlow, Zhu et al., 2024, equation 9).

    Raises
    ------
    ValueError
        If the match size is not 0, slerp is not a share or annealed below 0, or noise and samples
        differ in shape, are empty, not floats or not finite.
    """

    name = "paired"

    def __init__(
        self,
        match_size: int = 0,
        seed: int = 0,
        *,
        noise: Tensor,
        samples: Tensor,
        generated: int | None = None,
        slerp: float = 0.0,
        annealed: int = 0,
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
        if not 0 <= slerp < 1:
            raise ValueError(f"slerp: expected a share below 1, found {slerp}")
        super().__init__(match_size, seed)
        self._noise = noise
        self._samples = samples
        self._generated = len(noise) if generated is None else generated
        self._slerp = slerp
        self._annealed = whole_number("annealed", annealed, 0)
        self._progress = {"batches": 0, "samples": 0}

    def pair(self, batch: Batch) -> Pairs:
        """Return the pairs of the batch's rows, with its extras; see `Coupling.pairs`."""
        like = batch.samples
        check_samples(like, tuple(self._samples.shape[1:]), "as the pairs have")
        rows = batch_rows(batch, len(self._samples))
        noise = self._noise[rows].to(like)
        if self._slerp or self._annealed:
            stream = generator(self.seed, "noise", self._progress["batches"])
            fresh = normal(noise.shape, stream).to(noise)
            if self._slerp:
                shares = self._slerp * torch.rand(len(noise), generator=stream)
                shares[rows.cpu() < self._generated] = 0
                noise = slerped(noise, fresh, shares.to(noise))
            seen = self._progress["samples"]
            if seen < self._annealed:
                b = 1 - seen / self._annealed
                noise = (1 - b**2) ** 0.5 * noise + b * fresh
            self._progress["batches"] += 1
            self._progress["samples"] += len(noise)
        return Pairs(self._samples[rows].to(like), noise, batch.extras)

    def _identity(self) -> dict[str, Any]:
        options = {"generated": self._generated, "slerp": self._slerp, "annealed": self._annealed}
        return {**super()._identity(), "shape": tuple(self._samples.shape), **options}


def slerped(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Return points so far on the way from one to the other, along the circle through both.

    Lengths go along linearly.

    Parameters
    ----------
    start, end
        Shape ``(n, ...)``.
    shares
        Of the angle, shape ``(n,)``.
    """
    one, other = start.flatten(1), end.flatten(1)
    lengths = one.norm(dim=1), other.norm(dim=1)
    one, other = one / lengths[0][:, None], other / lengths[1][:, None]
    angle = (one * other).sum(dim=1).clamp(-1, 1).acos()
    whole = angle.sin().clamp_min(torch.finfo(angle.dtype).tiny)
    weights = ((1 - shares) * angle).sin() / whole, (shares * angle).sin() / whole
    turned = weights[0][:, None] * one + weights[1][:, None] * other
    length = (1 - shares) * lengths[0] + shares * lengths[1]
    moved = torch.where((shares == 0)[:, None], start.flatten(1), length[:, None] * turned)
    return moved.reshape(start.shape)
