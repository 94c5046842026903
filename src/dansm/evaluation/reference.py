"""Features of the real images, and the distances that no model can undercut."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from dansm.data.store import Store
from dansm.evaluation.distances import frechet_distance, kernel_distance
from dansm.evaluation.features import Extractor, ReferenceFeatures, extract
from dansm.evaluation.sampling import Decode
from dansm.evaluation.table import write_table
from dansm.randomness import generator

_SPLITS = 5
_BATCH = 250


def compute_reference(
    store: Store, extractor: Extractor, *, dataset: str, name: str, features: Path, floor: Path
) -> None:
    """Save the features of all real images, and the distance between random halves of them.

    The distance of one half to the other is the floor: what a perfect model would get with that
    many samples.

    Parameters
    ----------
    name
        Name of the feature extractor.
    features, floor
        Files to write: reference features, and a table with a row per random split.
    """
    batches = tqdm(range(0, len(store), _BATCH), desc=f"features of {dataset}", mininterval=1)
    all_features = np.concatenate(
        [extract(extractor, store.array[first : first + _BATCH]) for first in batches]
    )
    ReferenceFeatures.of(all_features).save(features)
    half = len(all_features) // 2
    rows = []
    for split in range(_SPLITS):
        order = torch.randperm(len(all_features), generator=generator(split, "halves")).numpy()
        reference = ReferenceFeatures.of(all_features[order[half:]])
        rows += _rows(
            all_features[order[:half]], reference, dataset, "real_halves", name, seed_range=split
        )
    write_table(floor, pd.DataFrame(rows))


def measure_reconstruction(
    store: Store,
    latents: Store,
    decode: Decode,
    extractor: Extractor,
    reference: ReferenceFeatures,
    *,
    dataset: str,
    name: str,
    path: Path,
) -> None:
    """Write the distance of decoded latents to the real images: the autoencoder's share."""
    parts = []
    for first in tqdm(range(0, len(latents), _BATCH), desc="decoding", mininterval=1):
        rows = np.arange(first, min(first + _BATCH, len(latents)))
        images = store.to_stored_range(decode(latents.batch(rows)))
        parts.append(extract(extractor, images))
    features = np.concatenate(parts)
    write_table(path, pd.DataFrame(_rows(features, reference, dataset, "reconstruction", name)))


def _rows(
    features: np.ndarray,
    reference: ReferenceFeatures,
    dataset: str,
    process: str,
    extractor: str,
    seed_range: int = 0,
) -> list[dict[str, Any]]:
    values = {
        "frechet_distance": frechet_distance(features, reference),
        "kernel_distance": kernel_distance(features, reference),
    }
    return [
        {
            "dataset": dataset,
            "process": process,
            "seed_range": seed_range,
            "metric": metric,
            "feature_extractor": extractor,
            "n_samples": len(features),
            "value": value,
        }
        for metric, value in values.items()
    ]
