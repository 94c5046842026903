"""Models as flat folders that plain diffusers loads, and networks begun with such a folder.

A folder holds ``config.json`` and the weights of a ``UNet2DModel``, and ``scheduler_config.json``
of what samples it: ``FlowMatchEulerDiscreteScheduler`` of a rectified flow, ``DDIMScheduler`` of a
diffusion. In flow matching diffusers asks a network for noise − data at ``999 σ`` with
``σ = 1 − t``, ours answers data − noise at ``999 t``. The first layer sees the sine and the cosine
of multiples of the time and the last is linear, so that these two alone differ.
"""

import math
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dansm.catalogue import Pick
from dansm.config import Network, Shape
from dansm.errors import InputError
from dansm.io.model_folder import CONFIG, WEIGHTS, check_model_folder
from dansm.models.weights import check_weights
from dansm.processes.diffusion import Diffusion
from dansm.processes.rectified_flow import TIME_SCALE, RectifiedFlow

_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
_PREDICTIONS = {"noise": "epsilon", "velocity": "v_prediction", "data": "sample"}
_TIME, _OUTPUT = "time_embedding.linear_1.weight", ("conv_out.weight", "conv_out.bias")


def save_model_folder(network: UNet2DModel, process: Pick, folder: Path) -> None:
    """Write a network into an empty folder, with the scheduler of its process.

    Sampling is Euler's as ours, to rounding: of a flow with
    ``set_timesteps(sigmas=numpy.linspace(1 − ε, 0, N, endpoint=False))``, of a diffusion with any
    number of steps that divides 1000, on our grid ``trailing``.

    Raises
    ------
    InputError
        If diffusers has no scheduler of the process, or not the network.
    """
    # With them comes scipy.stats, and only an export needs them.
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
        FlowMatchEulerDiscreteScheduler,
    )

    if type(network) is not UNet2DModel:
        raise InputError(
            f"{type(network).__name__}: expected a network that diffusers has, of patch 1 and one "
            "time"
        )
    if process.name == RectifiedFlow.name:
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=round(TIME_SCALE))
        # The paper's steps from ε to 1 add up to 1.
        exported = UNet2DModel.from_config(network.config)
        weights = _turned(network.state_dict(), -1 / (1 - RectifiedFlow().epsilon))
        exported.load_state_dict(weights)
        network = exported
    elif process.name == Diffusion.name:
        scheduler = DDIMScheduler(
            num_train_timesteps=Diffusion.times,
            beta_start=1e-4,
            beta_end=0.02,
            beta_schedule=_SCHEDULES[process.options.get("schedule", "linear")],
            rescale_betas_zero_snr=process.options.get("zero_snr", False),
            prediction_type=_PREDICTIONS[process.options.get("prediction", "noise")],
            clip_sample=False,
            timestep_spacing="trailing",
        )
    else:
        raise InputError(
            f"process {process.name}: expected one that diffusers samples, rectified_flow or "
            "diffusion"
        )
    network.save_pretrained(folder)
    scheduler.save_pretrained(folder)


def load_model_folder(folder: Path, network: UNet2DModel, preset: Network, shape: Shape) -> None:
    """Load the weights of a folder into a network, so that it answers as ours do.

    Raises
    ------
    InputError
        If something is missing, damaged, not finite or of another network, or the scheduler counts
        other times than that of `save_model_folder`.
    """
    folder = Path(folder)
    config, scheduler = check_model_folder(folder, preset, shape)
    own = dict(network.config)
    for key in sorted(own.keys() & config.keys()):
        # Which says nothing of what a trained network computes.
        if key != "dropout" and not key.startswith("_") and _plain(own[key]) != config[key]:
            raise InputError(
                f"{folder / CONFIG}: {key}: expected {_plain(own[key])}, found {config[key]}"
            )
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{folder / WEIGHTS}: expected a complete safetensors file ({error})"
        ) from error
    check_weights(folder / WEIGHTS, weights, network)
    if scheduler["_class_name"] == "FlowMatchEulerDiscreteScheduler":
        weights = _turned(weights, -(1 - RectifiedFlow().epsilon))
    network.load_state_dict(weights)


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _turned(weights: dict[str, Tensor], factor: float) -> dict[str, Tensor]:
    """Return the weights of a network that answers factor times as much at 999 minus the time.

    Of cos ω(999 − s) and sin ω(999 − s), cos ωs and sin ωs are the same combinations as back, so
    that it is its own inverse.
    """
    turned, first = dict(weights), weights[_TIME].double()
    half = first.shape[1] // 2
    # In the steps and the precision of diffusers' embedding.
    exponents = -math.log(10_000) * torch.arange(half, dtype=torch.float32) / half
    phases = TIME_SCALE * exponents.exp().double().to(first.device)
    cosines, sines, rest = first[:, :half], first[:, half : 2 * half], first[:, 2 * half :]
    parts = (
        cosines * phases.cos() + sines * phases.sin(),
        cosines * phases.sin() - sines * phases.cos(),
        rest,
    )
    turned[_TIME] = torch.cat(parts, dim=1).to(weights[_TIME])
    for name in _OUTPUT:
        turned[name] = (factor * weights[name].double()).to(weights[name])
    return turned
