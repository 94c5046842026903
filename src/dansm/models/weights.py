"""Weight files of networks, which say what they belong to."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dansm.errors import InputError
from dansm.io.files import atomic_path


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
            description = dict(json.loads((file.metadata() or {}).get("dansm", "{}")))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected network weights, found no file") from error
    except (SafetensorError, OSError, TypeError, ValueError) as error:
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
    check_weights(path, weights, network)
    network.load_state_dict(weights)


def load_pretrained(kind: type[Any], weights: Path, more: bool = False) -> Any:
    """Load a model of diffusers or transformers from safetensors and the config.json beside them.

    With ``more`` the file may hold weights that the model does not have.

    Raises
    ------
    InputError
        If they are no complete model of that class with finite weights.
    """
    try:
        model, loaded = kind.from_pretrained(
            weights.parent, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # what they say of a configuration has no common type
        raise InputError(
            f"{weights}: expected the weights of {kind.__name__}, found "
            f"{' '.join(str(error).split())}"
        ) from error
    # Both libraries would go on with random weights for those that they do not find.
    refused = ["missing_keys", "mismatched_keys", *([] if more else ["unexpected_keys"])]
    strange = [name for key in refused for name in loaded[key]]
    if strange:
        raise InputError(
            f"{weights}: expected the weights of the {kind.__name__} that config.json describes, "
            f"found others or none for {strange[0]}"
        )
    bad = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"{weights}: expected finite weights, found NaN in {bad[0]}")
    return model


def check_weights(path: Path, weights: dict[str, torch.Tensor], network: torch.nn.Module) -> None:
    """Check that weights are finite, and of a network's names, shapes and types.

    Raises
    ------
    InputError
        Naming the file that they are from, and the first that is not.
    """
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
