"""A stand-in for Inception of random weights, for reduced scales: small, and needs no download."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dansm.io.files import atomic_path
from dansm.randomness import stream_seed

_FEATURES = 2048
_CLASSES = 1008


class RandomInception(nn.Module):
    """What clean-fid expects of Inception's file: ``layers``, ``output``, and a forward pass."""

    def __init__(self) -> None:
        super().__init__()
        # Means of patches and a random layer.
        random = nn.Linear(3 * 8 * 8, _FEATURES)
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), random, nn.ReLU())
        self.output = nn.Linear(_FEATURES, _CLASSES)

    def forward(self, images: Tensor, return_features: bool = True) -> Tensor:
        """Return features, shape (n, 2048), of images in [0, 255] of any size."""
        return self.layers((images - 128) / 128)


def write_random_inception(path: Path) -> None:
    """Write the stand-in as a TorchScript file, the format of Inception's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(0, "random-inception"))
        script = torch.jit.script(RandomInception().eval().requires_grad_(False))
    with atomic_path(path) as partial:
        script.save(str(partial))
