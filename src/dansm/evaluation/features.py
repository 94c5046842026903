"""Feature extractors and the statistics of features."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from dansm.config import Classifier
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.evaluation.classifier import load_classifier
from dansm.files import atomic_path

# (images in the store's own type and range, shape (n, channels, height, width)) -> (n, features)
Extractor = Callable[[np.ndarray], np.ndarray]

INCEPTION_FILE = "inception-2015-12-05.pt"


def make_extractor(
    name: str,
    store: Store,
    *,
    classifier: Classifier | dict[str, Any] | None = None,
    classifier_path: str | Path | None = None,
    inception_weights: str | Path | None = None,
) -> Extractor:
    """Return a feature extractor for images of a store's type and range.

    Parameters
    ----------
    name
        ``digit_classifier``, ``inception_legacy_tensorflow`` or ``inception_clean``.
    classifier, classifier_path
        Settings (also as a dictionary) and folder, for ``digit_classifier``.
    inception_weights
        Folder holding clean-fid's Inception file; None lets clean-fid download it.

    Raises
    ------
    InputError
        If weights are missing, or the store's images do not suit the extractor.
    """
    if name == "digit_classifier":
        if classifier is None or not classifier_path:
            raise ValueError("digit_classifier: expected its settings and folder")
        model = load_classifier(
            Classifier.model_validate(classifier),
            tuple(store.array.shape[1:]),
            Path(classifier_path),
        )

        def classifier_features(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return model.features(store.to_model_range(torch.from_numpy(images))).numpy()

        return classifier_features
    if store.value_range != (0, 255) or store.array.dtype != np.uint8:
        raise InputError(
            f"{store.path}: {name} takes 8-bit images, found {store.array.dtype} "
            f"in {store.value_range}"
        )
    if store.array.shape[1] not in (1, 3):
        raise InputError(
            f"{store.path}: {name} takes grey or colour images, found "
            f"{store.array.shape[1]} channels"
        )
    return _inception(name.removeprefix("inception_"), inception_weights)


def _inception(mode: str, weights: str | Path | None) -> Extractor:
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    folder = Path(weights) if weights is not None else Path(torch.hub.get_dir()) / "clean-fid"
    if weights is not None and not (folder / INCEPTION_FILE).is_file():
        raise InputError(f"{folder / INCEPTION_FILE}: expected Inception weights, found no file")
    folder.mkdir(parents=True, exist_ok=True)
    # In mode legacy_tensorflow the network resizes by itself; in mode clean clean-fid's resizer
    # (antialiased bicubic, PIL) does it before.
    model = InceptionV3W(
        str(folder), download=weights is None, resize_inside=mode == "legacy_tensorflow"
    )
    model = model.to(device).eval()
    resize = build_resizer(mode)

    def features(images: np.ndarray) -> np.ndarray:
        colour = images if images.shape[1] == 3 else np.repeat(images, 3, axis=1)
        resized = [resize(image) for image in colour.transpose(0, 2, 3, 1)]
        batch: Tensor = torch.from_numpy(np.stack(resized).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            return model(batch.float().to(device)).cpu().numpy()

    return features


def extract(extractor: Extractor, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """Return the features of all images in float64, shape (n, features)."""
    parts = [
        extractor(np.ascontiguousarray(images[first : first + batch_size]))
        for first in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype(np.float64)


@dataclass(frozen=True)
class ReferenceFeatures:
    """Features of a dataset's real images, with mean and covariance in float64.

    Attributes
    ----------
    features
        Shape ``(n, d)``.
    mean, covariance
        Shapes ``(d,)`` and ``(d, d)``.
    """

    features: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> "ReferenceFeatures":
        """Compute mean and covariance of features, shape ``(n, d)``."""
        features = features.astype(np.float64)
        return cls(features, features.mean(axis=0), np.cov(features, rowvar=False))

    def save(self, path: Path) -> None:
        """Write the features; mean and covariance follow from them."""
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.savez(file, features=self.features)

    @classmethod
    def load(cls, path: Path) -> "ReferenceFeatures":
        """Read features written by `save`.

        Raises
        ------
        InputError
            If the file is missing, damaged or holds values that are not finite.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                features = file["features"]
        except FileNotFoundError as error:
            raise InputError(f"{path}: expected reference features, found no file") from error
        except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
            raise InputError(f"{path}: expected reference features, found {error}") from error
        if features.ndim != 2 or not np.isfinite(features).all():
            raise InputError(
                f"{path}: expected finite features of shape (n, d), found shape {features.shape}"
            )
        return cls.of(features)
