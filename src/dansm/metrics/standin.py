"""A stand-in for Inception of random weights, for reduced scales: small, and needs no download."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dansm.io.files import atomic_path
from dansm.randomness import stream_seed

_FEATURES = 2048
_CLASSES = 1008


class RandomLayers(nn.Module):
    """Images of Inception's size and range to 2 048 features: means of patches, a random layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.AdaptiveAvgPool2d(8)
        self.layer = nn.Linear(3 * 8 * 8, _FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """Return features, shape (n, 2048)."""
        return torch.relu(self.layer(self.patches(images).flatten(1)))


class RandomInception(nn.Module):
    """What clean-fid expects of Inception's file: ``layers``, ``output``, and a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = RandomLayers()
        self.output = nn.Linear(_FEATURES, _CLASSES)
        self.side = 299  # pixels, as Inception has it; the script knows no globals

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        """Return features, or class scores, of images in [0, 255] of any size."""
        resized = nn.functional.interpolate(images, size=(self.side, self.side), mode="bilinear")
        features = self.layers((resized - 128) / 128)
        return features if return_features else self.output(features)


def write_random_inception(path: Path) -> None:
    """Write the stand-in as a TorchScript file, the format of Inception's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "random-inception"))
        script = torch.jit.script(RandomInception().eval().requires_grad_(False))
    with atomic_path(path) as partial:
        script.save(str(partial))
