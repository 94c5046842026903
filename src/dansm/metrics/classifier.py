"""A small classifier whose penultimate activations serve as features of the digits."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dansm.config import Classifier
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import write_json
from dansm.io.records import is_proven
from dansm.models.weights import load_weights, save_weights
from dansm.randomness import generator, stream_seed

WEIGHTS = "model.safetensors"


class DigitClassifier(nn.Module):
    """Two convolutions, one hidden layer, and ten classes.

    The hidden activations, which ``body`` returns, are the features.
    """

    def __init__(self, settings: Classifier, shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = shape
        wide = settings.channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, 2 * wide, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * wide * (height // 2) * (width // 2), settings.features),
            nn.ReLU(),
        )
        self.head = nn.Linear(settings.features, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores, shape (n, 10)."""
        return self.head(self.body(images))


def train_classifier(
    settings: Classifier, store: Store, held_out: Store, path: Path
) -> dict[str, Any]:
    """Train the classifier on a labelled store and save it with its accuracy on another.

    Writes ``model.safetensors`` and ``report.json`` into ``path``.

    Raises
    ------
    InputError
        If a store has no labels.
    """
    for one in (store, held_out):
        if one.labels is None:
            raise InputError(f"{one.path}: expected a labelled store, found no labels")
    shape = tuple(store.array.shape[1:])
    labels = torch.from_numpy(store.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(settings.seed, "classifier"))
        model = DigitClassifier(settings, shape)
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
        "settings": settings.model_dump(mode="json"),
    }
    save_weights(path / WEIGHTS, model.state_dict(), _description(settings))
    write_json(path / "report.json", report)
    return report


def load_classifier(
    settings: Classifier, shape: tuple[int, int, int], path: Path
) -> DigitClassifier:
    """Load the classifier saved in a folder.

    Raises
    ------
    InputError
        If its weights are missing, damaged or of other settings.
    """
    model = DigitClassifier(settings, shape)
    is_proven(path / WEIGHTS)
    load_weights(path / WEIGHTS, model, _description(settings))
    return model.eval().requires_grad_(False)


def _description(settings: Classifier) -> dict[str, object]:
    return {"classifier": settings.model_dump(mode="json")}
