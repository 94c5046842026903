"""What a diffusers folder says of its model, without PyTorch: checked when the workflow is read."""

from pathlib import Path
from typing import Any

from dansm.config import Network, Shape
from dansm.errors import InputError
from dansm.io.files import read_json

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler_config.json"
# The times of those schedulers whose models ours can begin with.
_TIMES = {
    "FlowMatchEulerDiscreteScheduler": 999,
    "DDIMScheduler": 1000,
    "DDPMScheduler": 1000,
}


def check_model_folder(
    folder: Path, preset: Network, shape: Shape
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configurations of a folder's network and scheduler.

    Raises
    ------
    InputError
        If a file of it is missing, or it is of another network, shape or process than asked for.
    """
    if preset.patch > 1 or preset.two_times:
        raise InputError(
            f"{folder}: expected a run of a plain network to begin with it, found one of patches "
            "or two times"
        )
    for name in (CONFIG, WEIGHTS, SCHEDULER):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: expected a diffusers folder, found no {name}")
    config, scheduler = (_mapping(folder / name) for name in (CONFIG, SCHEDULER))
    if isinstance(side := config.get("sample_size"), int):
        config["sample_size"] = [side, side]
    expected = {"_class_name": "UNet2DModel"} | preset.unet(shape)
    for key in sorted(expected.keys() - {"dropout"}):
        wanted = list(expected[key]) if isinstance(expected[key], tuple) else expected[key]
        if config.get(key) != wanted:
            raise InputError(
                f"{folder / CONFIG}: {key}: expected {wanted}, found {config.get(key)}"
            )
    kind = scheduler.get("_class_name")
    if kind not in _TIMES:
        raise InputError(f"{folder / SCHEDULER}: expected one of {sorted(_TIMES)}, found {kind}")
    if (times := scheduler.get("num_train_timesteps")) != _TIMES[kind]:
        raise InputError(
            f"{folder / SCHEDULER}: num_train_timesteps: expected {_TIMES[kind]}, found {times}"
        )
    return config, scheduler


def _mapping(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys with values, found {content!r:.80}")
    return content
