"""Velocity and noise-prediction networks."""

import os
import shutil

import torch
from diffusers.models.unets.unet_2d import UNet2DModel, UNet2DOutput
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from dansm.config import Network, Shape
from dansm.errors import InputError
from dansm.randomness import stream_seed


class ShapedUNet(UNet2DModel):
    """A network that sees each square of pixels as the channels of one, or two conditions a point.

    Conditions are then of shape (n, 2); of (n,), the second is 0. It is embedded as the first is,
    and both embeddings are added.

    Attributes
    ----------
    patch
        Side of the squares.
    two_times
        Whether there are two conditions.
    """

    patch = 1
    two_times = False

    def forward(self, sample: Tensor, timestep: Tensor) -> UNet2DOutput:
        """Return the prediction for samples, both of shape (n, channels, height, width)."""
        second = None
        if self.two_times:
            second = torch.zeros_like(timestep)
            if timestep.ndim == 2:
                timestep, second = timestep.unbind(dim=1)
        shown = pixel_unshuffle(sample, self.patch)
        found = super().forward(shown, timestep, class_labels=second).sample
        return UNet2DOutput(sample=pixel_shuffle(found, self.patch))


def make_network(preset: Network, shape: Shape, seed: int | None = None) -> UNet2DModel:
    """Build a network for samples of a shape.

    Parameters
    ----------
    shape
        Channels, height and width of a sample.
    seed
        Seed of the initial weights; None leaves them to torch's global generator, for networks
        whose weights are loaded right after.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(stream_seed(seed, "weights"))
        plain = preset.patch == 1 and not preset.two_times
        network = (UNet2DModel if plain else ShapedUNet)(**preset.unet(shape))
    if not plain:
        network.patch, network.two_times = preset.patch, preset.two_times
    return network


def tune_network(network: nn.Module, *, channels_last: bool, compiled: bool) -> None:
    """Set how a network computes, in place; its function and the names of its weights stay.

    Parameters
    ----------
    channels_last
        Whether its weights, and so what its convolutions return, have the channels innermost in
        memory.
    compiled
        Whether `torch.compile` fuses its operations; the first forward and backward pass then
        take minutes.

    Raises
    ------
    InputError
        If it is to be compiled and there is no C compiler, which torch needs for that.
    """
    if channels_last:
        network.to(memory_format=torch.channels_last)
    if not compiled:
        return
    compilers = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    if not any(shutil.which(name) for name in compilers):
        raise InputError(
            f"compile: torch.compile needs a C compiler, found none on {os.uname().nodename} "
            f"(expected CC, cc, gcc or clang); install one, or set compile: false"
        )
    network.compile()
