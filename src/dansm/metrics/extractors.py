"""Feature extractors: what turns images into features and class probabilities."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from cleanfid.downloads_helper import inception_url
from cleanfid.inception_torchscript import InceptionV3W
from PIL import Image
from torch import Tensor

from dansm.catalogue import EXTRACTORS
from dansm.config import INCEPTION_FILE, INCEPTION_SHA256, Classifier
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import atomic_path, sha256
from dansm.metrics.classifier import WEIGHTS, ImageClassifier, load_classifier

_INCEPTION_SIDE = 299
_BATCH = 250

# Images, as an extractor takes them, to features (n, d) and class probabilities (n, classes).
Forward = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Features:
    """What an extractor finds in n images.

    ``features`` has shape (n, d), ``probabilities`` of the extractor's classes (n, classes);
    float32.
    """

    features: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def joined(cls, parts: "Sequence[Features]") -> "Features":
        """Return the parts as one."""
        return cls(
            np.concatenate([part.features for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )

    def take(self, rows: np.ndarray | slice) -> "Features":
        """Return those of some of the images."""
        return Features(self.features[rows], self.probabilities[rows])


@dataclass(frozen=True)
class Extractor:
    """A network that turns images into features and class probabilities.

    Attributes
    ----------
    name
        As tables give it.
    weights
        SHA-256 of the weights' file.
    device
        Where it computes.
    forward
        Takes images in the store's own type and range, shape (n, channels, height, width).
    """

    name: str
    weights: str
    device: torch.device
    forward: Forward

    @property
    def identity(self) -> str:
        """Name and weights: features of another identity are not comparable."""
        return f"{self.name} with weights {self.weights}"

    @property
    def score(self) -> str:
        """The metric that its probabilities give: only Inception's is an inception score."""
        return EXTRACTORS[self.name].score

    def __call__(self, images: Tensor) -> Features:
        """Return what is found in images, wherever they are; only that leaves the device."""
        # TensorFloat-32 would make features differ between devices in their third digit.
        exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with torch.no_grad(), exact:
            parts = [self.forward(part.to(self.device)) for part in images.split(_BATCH)]
            features, probabilities = (torch.cat(part) for part in zip(*parts, strict=True))
        return Features(features.cpu().numpy(), probabilities.cpu().numpy())


def make_extractor(
    name: str,
    store: Store,
    *,
    classifier: Classifier | dict[str, Any] | None = None,
    classifier_path: str | Path | None = None,
    inception_weights: str | Path | None = None,
    inception_sha256: str = INCEPTION_SHA256,
) -> Extractor:
    """Return a feature extractor for images of a store's type and range, on the GPU if there is.

    Parameters
    ----------
    name
        One of `EXTRACTORS`.
    classifier, classifier_path
        Settings (also as a dictionary) and folder of the dataset's classifier.
    inception_weights, inception_sha256
        See `find_inception`. For Inception of random weights, whatever the file is.

    Raises
    ------
    InputError
        If weights are missing or others, or the store's images do not suit the extractor.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    entry = EXTRACTORS[name]
    if entry.weights == "classifier":
        if classifier is None or not classifier_path:
            raise ValueError(f"{name}: expected the classifier's settings and folder")
        path = Path(classifier_path) / WEIGHTS
        settings = Classifier.model_validate(classifier)
        model: Any = load_classifier(settings, tuple(store.array.shape[1:]), path.parent)
        return Extractor(name, sha256(path), device, entry.load()(model.to(device), store))
    channels, dtype = store.array.shape[1], store.array.dtype
    if store.value_range != (0, 255) or dtype != np.uint8 or channels not in (1, 3):
        raise InputError(
            f"{store.path}: {name} takes grey or colour images of 8 bits, found {channels} "
            f"channels of {dtype} in {store.value_range}"
        )
    if entry.weights == "random_inception" and inception_weights is not None:
        inception_sha256 = sha256(Path(inception_weights) / INCEPTION_FILE)
    path = find_inception(inception_weights, inception_sha256)
    return Extractor(name, inception_sha256, device, entry.load()(path, device))


def classifier_features(model: ImageClassifier, store: Store) -> Forward:
    """Return what finds a classifier's features and classes in images of a store's range."""

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        features = model.body(store.to_model_range(images))
        return features, model.head(features).softmax(dim=1)

    return forward


def inception_legacy_tensorflow(path: Path, device: torch.device) -> Forward:
    """Return Inception that resizes images itself, without antialiasing as TensorFlow did."""
    return _inception(path, device, resize_inside=True)


def inception_clean(path: Path, device: torch.device) -> Forward:
    """Return Inception of images resized by `clean_resize`."""
    return _inception(path, device, resize_inside=False)


def _inception(path: Path, device: torch.device, *, resize_inside: bool) -> Forward:
    model = InceptionV3W(str(path.parent), download=False, resize_inside=resize_inside)
    model = model.to(device).eval()

    def forward(images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.expand(-1, 3, -1, -1).float()
        features = model(images if resize_inside else clean_resize(images))
        # Without the bias, as the inception score has been computed from the first.
        return features, (features @ model.base.output.weight.T).softmax(dim=1)

    return forward


def find_inception(weights: str | Path | None, expected: str = INCEPTION_SHA256) -> Path:
    """Return the path of the file with Inception's weights, downloaded if need be.

    Parameters
    ----------
    weights
        Folder that holds `INCEPTION_FILE`. None looks in torch's cache, then where clean-fid puts
        it, and downloads it into torch's cache if a file with the checksum is in neither.
    expected
        SHA-256 of the file.

    Raises
    ------
    InputError
        If the file is missing, has another checksum, or cannot be downloaded.
    """
    if weights is not None:
        path = Path(weights) / INCEPTION_FILE
        found = _digest(path)
        if found != expected:
            raise InputError(
                f"{path}: expected Inception weights of sha256 {expected}, found {found}"
            )
        return path
    cache = Path(torch.hub.get_dir()) / "clean-fid"
    for path in (cache / INCEPTION_FILE, Path(tempfile.gettempdir()) / INCEPTION_FILE):
        found = _digest(path)
        if found == expected:
            return path
        if found != "no file":
            print(f"{path}: passed over, expected sha256 {expected}, found {found}", flush=True)
    path = cache / INCEPTION_FILE
    try:
        cache.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(inception_url, str(path), expected, progress=False)
    except (URLError, OSError, RuntimeError) as error:
        raise InputError(
            f"{inception_url}: expected to download Inception weights of sha256 {expected} to "
            f"{path}, found {error}; inception_weights in the configuration names a folder that "
            f"has {INCEPTION_FILE}"
        ) from error
    return path


def _digest(path: Path) -> str:
    """Return a file's SHA-256, or why it has none."""
    try:
        return sha256(path)
    except (FileNotFoundError, NotADirectoryError):
        return "no file"
    except OSError as error:
        return str(error)


def fetch_inception(weights: str | Path | None, expected: str, path: Path) -> None:
    """Copy the file with Inception's weights from where `find_inception` finds it."""
    with atomic_path(path) as partial:
        shutil.copyfile(find_inception(weights, expected), partial)


def clean_resize(images: Tensor) -> Tensor:
    """Resize images to Inception's size as clean-fid does, with the images where they are.

    clean-fid resizes each channel of each image by PIL, bicubic with antialiasing, unrounded and
    then clipped. That is linear before the clip, so PIL's own weights are taken from its resizing
    of an identity matrix.

    Parameters
    ----------
    images
        float32, values in [0, 255], shape (n, channels, height, width).
    """

    def weights(side: int) -> Tensor:
        identity = Image.fromarray(np.eye(side, dtype=np.float32))
        resized = identity.resize((side, _INCEPTION_SIDE), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(resized)).to(images)

    vertical, horizontal = map(weights, images.shape[2:])
    return (vertical @ (images @ horizontal.T)).clamp(0, 255)
