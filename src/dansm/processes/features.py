"""Features of images by networks of random weights, for losses: no evaluation uses them."""

import torch
from torch import Tensor, nn

_WIDTHS = (32, 64)


class RandomFeatures(nn.Module):
    """Activations of two random convolutions and their means and deviations over the image.

    Weights are drawn from torch's global generator and never change.

    Parameters
    ----------
    channels
        Of images.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for width in _WIDTHS:
            self.layers.append(nn.Conv2d(channels, width, 3, stride=2, padding=1))
            nn.init.orthogonal_(self.layers[-1].weight)
            channels = width
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return features of images (n, channels, height, width), shape (n, d)."""
        found, values = [], images.float()
        for layer in self.layers:
            values = nn.functional.leaky_relu(layer(values), 0.2)
            flat = values.flatten(2)
            found += [flat.mean(dim=2), flat.std(dim=2, correction=0), values.flatten(1)]
        return torch.cat(found, dim=1)
