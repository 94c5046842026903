"""Velocity and noise-prediction networks."""

import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from dansm.config import Network, Shape
from dansm.randomness import stream_seed


def make_network(preset: Network, shape: Shape, seed: int | None = None) -> UNet2DModel:
    """Build a network for samples of a shape.

    Parameters
    ----------
    preset
        Channels, depth, attention and dropout.
    shape
        Channels, height and width of a sample.
    seed
        Seed of the initial weights; None leaves them to torch's global generator, for networks
        whose weights are loaded right after.
    """
    channels, height, width = shape
    attends = [height // 2**level in preset.attention_at for level in range(len(preset.channels))]
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(stream_seed(seed, "weights"))
        return UNet2DModel(
            sample_size=(height, width),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=tuple(preset.channels),
            layers_per_block=preset.layers_per_block,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
            # The middle block attends where any level does, as in DDPM.
            add_attention=any(attends),
            # One head, as in DDPM and DDPM++.
            attention_head_dim=None,
            dropout=preset.dropout,
            norm_num_groups=preset.norm_groups,
        )
