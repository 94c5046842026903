"""Statistics of the real images' features, and the distances that no model can undercut."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dansm.config import Part
from dansm.data.store import Store
from dansm.io.tables import DISTANCE_COLUMNS, write_table
from dansm.metrics.distances import measure
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.sampling import DECODED_AT_ONCE, Decode
from dansm.metrics.statistics import ReferenceFeatures, chosen_rows
from dansm.randomness import generator

# How many images the halves are drawn from: their features are held in memory.
_FLOOR_IMAGES = 100_000
_SPLITS = 5
_BATCH = 250


def compute_reference(
    store: Store,
    extractor: Extractor,
    *,
    dataset: str,
    part: Part,
    features: Path,
    floor: Path,
    other: Store | None = None,
    n_samples: int | None = None,
) -> None:
    """Save statistics of the real images' features, and the distances of other real images.

    These are the floor: what a perfect model would get with so many images. They are of disjoint
    random draws from another part of the dataset, as many images each as the runs generate, or all
    where there are fewer. Without another part they are of one random half to the other half; of
    more than 100 000 images the halves are of that many, drawn at random.

    Parameters
    ----------
    part
        Of the dataset, which the store holds.
    features, floor
        Files to write: reference features, and a table with rows for each draw, of the process
        ``real_images``, or ``real_halves`` without another part.
    other
        The other part: no image of it is in the store.
    n_samples
        Images of a draw, none: all of the other part.
    """
    rows = chosen_rows(len(store), 0 if other else _FLOOR_IMAGES, "floor")
    held: list[Features] = []

    def batches() -> Iterator[np.ndarray]:
        for first in _batches(len(store), _BATCH, f"features of {dataset}, {part}"):
            found = extractor(torch.from_numpy(np.array(store.array[first : first + _BATCH])))
            begin, end = np.searchsorted(rows, [first, first + _BATCH])
            held.append(found.take(rows[begin:end] - first))
            yield found.features

    reference = ReferenceFeatures.gather(batches(), len(store), extractor.identity)
    reference.save(features)
    print(
        f"{features}: mean and covariance over {reference.count} images, features of "
        f"{len(reference.features)} kept",
        flush=True,
    )
    measured = []
    if other is not None:
        for draw, found in enumerate(_draws(other, extractor, n_samples or len(other), dataset)):
            measured += _rows(found, reference, extractor, dataset, part, "real_images", draw)
    else:
        found = Features.joined(held)
        half = len(rows) // 2
        for split in range(_SPLITS):
            order = torch.randperm(len(rows), generator=generator(split, "halves")).numpy()
            rest = ReferenceFeatures.of(found.features[order[half:]])
            mine = found.take(order[:half])
            measured += _rows(mine, rest, extractor, dataset, part, "real_halves", split)
    write_table(floor, measured, DISTANCE_COLUMNS)


def _draws(store: Store, extractor: Extractor, count: int, dataset: str) -> Iterator[Features]:
    """Yield what is found in disjoint random draws of images, of all where there are fewer."""
    order = torch.randperm(len(store), generator=generator(0, "draws")).numpy()
    draws = order[: max(1, min(_SPLITS, len(order) // count)) * count]
    rows = np.sort(draws)
    parts = []
    for first in _batches(len(rows), _BATCH, f"other images of {dataset}"):
        parts.append(extractor(torch.from_numpy(store.array[rows[first : first + _BATCH]])))
    found = Features.joined(parts)
    for first in range(0, len(draws), count):
        yield found.take(np.searchsorted(rows, draws[first : first + count]))


def measure_reconstruction(
    store: Store,
    latents: Store,
    decode: Decode,
    extractor: Extractor,
    reference: ReferenceFeatures,
    *,
    dataset: str,
    path: Path,
) -> None:
    """Write the distance of decoded latents to the real images: the autoencoder's share."""
    parts = []
    for first in _batches(len(latents), DECODED_AT_ONCE, "decoding"):
        rows = np.arange(first, min(first + DECODED_AT_ONCE, len(latents)))
        parts.append(extractor(store.to_stored_range(decode(latents.batch(rows)))))
    measured = _rows(
        Features.joined(parts), reference, extractor, dataset, "training", "reconstruction"
    )
    write_table(path, measured, DISTANCE_COLUMNS)


def _batches(count: int, size: int, text: str) -> Iterable[int]:
    """Return the first images of batches, with a bar that counts images."""
    return tqdm(range(0, count, size), unit="images", unit_scale=size, desc=text, mininterval=1)


def _rows(
    found: Features,
    reference: ReferenceFeatures,
    extractor: Extractor,
    dataset: str,
    part: Part,
    process: str,
    image_set: int = 0,
) -> list[dict[str, Any]]:
    return [
        {
            "dataset": dataset,
            "process": process,
            "image_set": image_set,
            "feature_extractor": extractor.name,
            "reference": part,
            **measurement._asdict(),
        }
        for measurement in measure(found, reference, extractor, everything=True)
    ]
