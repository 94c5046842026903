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


def train_classifier(
    settings: Classifier, store: Store, held_out: Store, path: Path
) -> dict[str, Any]:
    """Train the classifier on a labelled store and save it with its accuracy on another.

    Writes ``model.safetensors`` and ``report.json`` into ``path``.

    Raises
    ------
    InputError
        If a store has no labels, or the second one's classes have other names.
    """
    for one in (store, held_out):
        if one.labels is None:
            raise InputError(f"{one.path}: expected a labelled store, found no labels")
    shape = tuple(store.array.shape[1:])
    names, others = _class_names(store), _class_names(held_out)
    if names != others:
        raise InputError(
            f"{held_out.path}: expected images of the classes of {store.path}, {names}, found "
            f"{others}"
        )
    classes = int(store.labels.max()) + 1 if names is None else len(names)
    labels = torch.from_numpy(store.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(settings.seed, "classifier"))
        model = ImageClassifier(settings, shape, classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    for epoch in tqdm(range(settings.epochs), unit="epochs", desc="classifier", mininterval=1):
        stream = generator(settings.seed, "classifier-epoch", epoch)
        for rows in torch.randperm(len(store), generator=stream).split(settings.batch_size):
            loss = nn.functional.cross_entropy(model(store.batch(rows.numpy())), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    correct = 0
    with torch.no_grad():
        for rows in torch.arange(len(held_out)).split(settings.batch_size):
            found = model(held_out.batch(rows.numpy())).argmax(1).numpy()
            correct += int((found == held_out.labels[rows]).sum())
    report = {
        "accuracy_held_out": correct / len(held_out),
        "images_held_out": len(held_out),
        "images_trained_on": len(store),
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


def _class_names(store: Store) -> list[str] | None:
    """Return the names of a store's classes by label, where they have any."""
    path = store.path / "classes.json"
    return read_json(path) if path.exists() else None


def _description(settings: Classifier) -> dict[str, object]:
    return {"classifier": settings.model_dump(mode="json")}
