"""A small classifier of a dataset whose penultimate activations serve as its features."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, PositiveInt
from torch import Tensor, nn
from tqdm import tqdm

from dansm.config import Classifier
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import read_json, read_model, write_json
from dansm.io.records import is_proven
from dansm.models.weights import load_weights, save_weights
from dansm.randomness import generator, stream_seed

WEIGHTS, REPORT = "model.safetensors", "report.json"


class _Report(BaseModel):
    classes: PositiveInt


class ImageClassifier(nn.Module):
    """Blocks of two convolutions that halve the image, one hidden layer, and the classes.

    Each block doubles the channels. The hidden activations, which ``body`` returns, are the
    features.
    """

    def __init__(self, settings: Classifier, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        layers: list[nn.Module] = []
        for block in range(settings.blocks):
            wide = settings.channels * 2**block
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU()]
            channels, height, width = 2 * wide, height // 2, width // 2
            layers += [nn.Conv2d(wide, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        hidden = nn.Linear(channels * height * width, settings.features)
        self.body = nn.Sequential(*layers, nn.Flatten(), hidden, nn.ReLU())
        self.head = nn.Linear(settings.features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores, shape (n, classes)."""
        return self.head(self.body(images))


def train_classifier(settings: Classifier, store: Store, path: Path) -> dict[str, Any]:
    """Train the classifier on a labelled store and save it with its held-out accuracy.

    Writes ``model.safetensors`` and ``report.json`` into ``path``.

    Raises
    ------
    InputError
        If the store has no labels or too few images.
    """
    if store.labels is None:
        raise InputError(f"{store.path}: expected a labelled store, found no labels")
    shape = tuple(store.array.shape[1:])
    order = torch.randperm(len(store), generator=generator(settings.seed, "classifier-split"))
    held_out = round(settings.held_out * len(store))
    if not 0 < held_out < len(store):
        raise InputError(
            f"{store.path}: expected some of the {len(store)} images to be held out and some not, "
            f"found held_out {settings.held_out}"
        )
    test, training = order[:held_out], order[held_out:]
    labels, classes = torch.from_numpy(store.labels), _count_classes(store)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(settings.seed, "classifier"))
        model = ImageClassifier(settings, shape, classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for epoch in tqdm(range(settings.epochs), unit="epochs", desc="classifier", mininterval=1):
        stream = generator(settings.seed, "classifier-epoch", epoch)
        shuffled = training[torch.randperm(len(training), generator=stream)]
        for rows in shuffled.split(settings.batch_size):
            loss = nn.functional.cross_entropy(model(store.batch(rows.numpy())), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        correct = (model(store.batch(test.numpy())).argmax(1) == labels[test]).double().mean()
    report = {
        "accuracy_held_out": correct.item(),
        "images_held_out": held_out,
        "images_trained_on": len(training),
        "classes": classes,
        "settings": settings.model_dump(mode="json"),
    }
    save_weights(path / WEIGHTS, model.state_dict(), _description(settings))
    write_json(path / REPORT, report)
    return report


def load_classifier(
    settings: Classifier, shape: tuple[int, int, int], path: Path
) -> ImageClassifier:
    """Load the classifier saved in a folder.

    Raises
    ------
    InputError
        If its weights or its report are missing or damaged, or of other settings.
    """
    for name in (WEIGHTS, REPORT):
        is_proven(path / name)
    model = ImageClassifier(settings, shape, read_model(path / REPORT, _Report).classes)
    load_weights(path / WEIGHTS, model, _description(settings))
    return model.eval().requires_grad_(False)


def _count_classes(store: Store) -> int:
    """Return how many classes a store has: those that it names, or up to its largest label."""
    names = store.path / "classes.json"
    return len(read_json(names)) if names.exists() else int(store.labels.max()) + 1


def _description(settings: Classifier) -> dict[str, object]:
    return {"classifier": settings.model_dump(mode="json")}
