"""Held-out images: those of a dataset that nothing is trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import torch

from dansm.config import HeldOut, Part
from dansm.data.sources.images import Images
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.randomness import generator

# A published test set may repeat a few training images; with more, the wrong images are held out.
_MOST_OVERLAP = 0.1
_BLOCK_ROWS = 1024


def chosen(images: Images, held_out: HeldOut, part: Part) -> Images:
    """Return a part of the images that `HeldOut.source` gave, in their order.

    Raises
    ------
    InputError
        If a share leaves no image on one side.
    """
    if held_out.beyond is not None and part == "held_out":
        return _take(images, np.arange(images.count - held_out.beyond, images.count))
    if held_out.share is None:
        return images
    apart = round(held_out.share * images.count)
    if not 0 < apart < images.count:
        raise InputError(
            f"held_out.share: expected some images on either side, found {held_out.share} of "
            f"{images.count}"
        )
    order = torch.randperm(images.count, generator=generator(0, "held-out")).numpy()
    return _take(images, np.sort(order[:apart] if part == "held_out" else order[apart:]))


def without_overlap(images: Images, again: Images, training: Store) -> Images:
    """Leave out held-out images that are trained on, pixel by pixel, and say how many.

    Parameters
    ----------
    images, again
        The held-out images twice, since blocks may be read once only.
    training
        Store of the training images.

    Raises
    ------
    InputError
        If more than a tenth of them are trained on.
    """
    trained = {
        digest
        for first in range(0, len(training), _BLOCK_ROWS)
        for digest in _digests([training.array[first : first + _BLOCK_ROWS]])
    }
    apart = np.array([digest not in trained for digest in _digests(images.blocks)])
    rows = np.flatnonzero(~apart)
    if len(rows) > _MOST_OVERLAP * images.count:
        raise InputError(
            f"held_out: expected images that are not trained on, found {len(rows)} of "
            f"{images.count} among those of {training.path}, number {rows[0]} for one "
            f"({images.description})"
        )
    if len(rows):
        print(
            f"{len(rows)} of {images.count} held-out images are left out, since they are trained "
            f"on, number {rows[0]} for one",
            flush=True,
        )
    return _take(again, np.flatnonzero(apart))


def _digests(blocks: Iterable[np.ndarray]) -> Iterator[bytes]:
    for block in blocks:
        for image in block:
            yield blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _take(images: Images, rows: np.ndarray) -> Images:
    def blocks() -> Iterator[np.ndarray]:
        done = 0
        for block in images.blocks:
            first, last = np.searchsorted(rows, [done, done + len(block)])
            if first < last:
                yield block[rows[first:last] - done]
            done += len(block)
            if done > rows[-1]:
                return

    kept = "" if len(rows) == images.count else f"; {len(rows)} of these {images.count}"
    return replace(
        images,
        count=len(rows),
        blocks=blocks(),
        description=images.description + kept,
        labels=None if images.labels is None else np.asarray(images.labels)[rows],
    )
