"""Velocity and noise-prediction networks, and their weight files."""

import json
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dansm.config import Network, Shape
from dansm.errors import InputError
from dansm.files import atomic_path
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


def save_weights(
    path: Path, weights: dict[str, torch.Tensor], description: dict[str, object]
) -> None:
    """Write weights as safetensors, with a description of what they belong to, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_path(path) as partial:
        # One metadata key only: the order of several is not fixed, and bytes should be.
        save_file(tensors, partial, {"dansm": json.dumps(description, sort_keys=True)})


def load_weights(path: Path, network: torch.nn.Module, expected: dict[str, object]) -> None:
    """Load weights written by `save_weights` into a network.

    Parameters
    ----------
    expected
        What the file's description must say, key by key; keys not named are not compared.

    Raises
    ------
    InputError
        If the file is missing, cut short, not finite, or belongs to another network or run.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {}).get("dansm", "{}"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected network weights, found no file") from error
    except SafetensorError as error:
        raise InputError(
            f"{path}: expected a complete safetensors file, found {path.stat().st_size} bytes "
            f"that are not one ({error})"
        ) from error
    for key, value in expected.items():
        if description.get(key) != json.loads(json.dumps(value)):
            raise InputError(
                f"{path}: weights of another run or network; expected {key} {value}, "
                f"found {description.get(key)}"
            )
    kinds = {name: (tuple(t.shape), t.dtype) for name, t in network.state_dict().items()}
    found = {name: (tuple(t.shape), t.dtype) for name, t in weights.items()}
    if found != kinds:
        name = sorted(k for k in kinds | found if kinds.get(k) != found.get(k))[0]
        raise InputError(
            f"{path}: weights of another network; expected {name} of shape and type "
            f"{kinds.get(name)}, found {found.get(name)}"
        )
    bad = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise InputError(f"{path}: expected finite weights, found NaN or infinity in {bad[0]}")
    network.load_state_dict(weights)
