"""Models of runs: what their weight files say, and how a finished one is loaded."""

from pathlib import Path

import torch
from torch import nn

from dansm.config import RunSettings
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.io.run_folder import MODEL, RUN, read_run
from dansm.models.networks import make_network
from dansm.models.weights import load_weights


def network_description(settings: RunSettings) -> dict[str, object]:
    """Return what a weight file says of its network."""
    return {"network": settings.network.plain(), "shape": list(settings.shape)}


def snapshot_description(settings: RunSettings, images_seen: int) -> dict[str, object]:
    """Return what a snapshot file says it is."""
    run = {"images_seen": images_seen, "run": settings.canonical_json()}
    return network_description(settings) | run


def load_guide(path: Path, student: RunSettings) -> tuple[nn.Module, RunSettings]:
    """Return a finished run's frozen model for a student's loss, and what that run is.

    Raises
    ------
    InputError
        If its weights are missing or altered, or the run is of another dataset, seed or process.
    """
    path = Path(path)
    settings = read_run(path.parent).settings
    for key in ("dataset", "seed", "process"):
        expected, found = getattr(student, key), getattr(settings, key)
        if expected != found:
            raise InputError(f"{path}: expected a guide of {key} {expected}, found {found}")
    network = load_model(path.parent, settings, torch.device("cpu"))
    return network.requires_grad_(False), settings


def load_model(
    folder: Path, settings: RunSettings, device: torch.device | None = None
) -> nn.Module:
    """Return a finished run's model in evaluation mode.

    Parameters
    ----------
    device
        None: a GPU where there is one.

    Raises
    ------
    InputError
        If its weights are missing, altered or those of another run.
    """
    path = Path(folder) / MODEL
    if path.is_file():
        stated, found = read_run(path.parent).model_sha256, sha256(path)
        if found != stated:
            raise InputError(f"{path}: expected sha256 {stated} as in {RUN}, found {found}")
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_network(settings.network, settings.shape).to(device).eval()
    expected = snapshot_description(settings, settings.steps * settings.batch_size)
    load_weights(path, network, expected)
    return network
