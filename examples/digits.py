"""What the three loops share and matching does not touch: the data, progress, the comparison."""

from collections.abc import Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.data import DataLoader
from tqdm import tqdm


def digits() -> Tensor:
    """Return scikit-learn's handwritten digits, shape (1797, 1, 8, 8), in [-1, 1]."""
    return torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1


class Run:
    """The batches of a run of so many steps, with a progress bar, and what was seen of each."""

    def __init__(self, name: str, steps: int) -> None:
        self.name = name
        self.steps = steps
        self.lengths: list[float] = []
        self.losses: list[float] = []

    def batches(self, loader: DataLoader) -> Iterator[Any]:
        """Yield a batch for each step, epoch after epoch."""
        with tqdm(total=self.steps, desc=self.name, unit="steps", mininterval=1) as progress:
            while True:
                for batch in loader:
                    yield batch
                    progress.update()
                    if progress.n == self.steps:
                        return

    def saw(self, paths: Tensor, loss: Tensor) -> None:
        """Note the way from noises to images, one a row, and the loss."""
        self.lengths.append(paths.flatten(1).norm(dim=1).mean().item())
        self.losses.append(loss.item())


def starting_noise() -> Tensor:
    """Return the noises that every run's samples start from, one for each digit."""
    return torch.randn(1797, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def compare(runs: dict[Run, Tensor]) -> None:
    """Print for each run, with its samples, what matching changed."""
    real = digits()
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(2))
    floor = distance(real[order[:898]], real[order[898:1796]])
    rows = {"noise": [run.name for run in runs]}
    rows["path length"] = [f"{mean(run.lengths):.3f}" for run in runs]
    last = [run.losses[-max(1, run.steps // 10) :] for run in runs]
    rows["loss, last tenth"] = [f"{mean(losses):.3f}" for losses in last]
    rows["samples to digits"] = [f"{distance(images, real):.3f}" for images in runs.values()]
    for name, values in rows.items():
        print(f"{name:20}" + "".join(f"{value:>10}" for value in values))
    print(f"(sliced Wasserstein distance of 3-step samples; halves of the digits: {floor:.3f})")


def distance(a: Tensor, b: Tensor) -> float:
    """Return the sliced 2-Wasserstein distance of as many images: over 512 random directions."""
    directions = torch.randn(64, 512, generator=torch.Generator().manual_seed(3))
    along = [(x.flatten(1) @ normalize(directions, dim=0)).sort(dim=0).values for x in (a, b)]
    return (along[0] - along[1]).square().mean().sqrt().item()


def mean(values: list[float]) -> float:
    """Return the mean of values."""
    return sum(values) / len(values)
