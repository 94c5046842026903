"""Small runs for tests: their settings, with whatever differs from them, and their folders."""

from pathlib import Path
from typing import Any

from dansm.config import RunSettings, Sampling
from dansm.io.files import sha256, write_json
from dansm.models.networks import make_network
from dansm.models.trained import snapshot_description
from dansm.models.weights import save_weights


def make_settings(**changes: Any) -> RunSettings:
    """Return the settings of a vanilla rectified flow on 4×4 grey images: four steps."""
    values = {
        "dataset": "toy",
        "shape": (1, 4, 4),
        "process": "rectified_flow",
        "seed": 0,
        "network": {
            "channels": [4],
            "layers_per_block": 1,
            "attention_at": [],
            "dropout": 0,
            "norm_groups": 2,
        },
        "batch_size": 8,
        "learning_rate": 1e-3,
        "ema_decay": 0.9,
        "gradient_clip": 1.0,
        "budget_images": 32,
        "snapshots": 2,
    }
    return RunSettings.model_validate(values | changes)


def make_sampling(**changes: Any) -> Sampling:
    """Return a sampling by Euler at every snapshot, and by RK45 too of the finished model."""
    values = {
        "each_snapshot": {"euler": [2, 3]},
        "final": {"euler": [2, 3], "rk45": []},
        "final_one_set": {"euler": [4]},
        "n_samples": 20,
        "batch_size": 8,
        "image_sets": 2,
        "samplers": {"euler": "euler", "rk45": "rk45"},
    }
    return Sampling.model_validate(values | changes)


def write_run(folder: Path, name: str, settings: RunSettings) -> Path:
    """Write the folder of a finished run, of networks that were never trained."""
    snapshots = []
    for steps in settings.snapshot_steps():
        images = steps * settings.batch_size
        file = f"{images:010d}.safetensors"
        weights = make_network(settings.network, settings.shape, seed=steps).state_dict()
        weights["conv_out.weight"] *= 0.03  # untrained, it makes adaptive steps tiny
        description = snapshot_description(settings, images)
        for path in (folder / "snapshots" / file, folder / "model.safetensors"):
            save_weights(path, weights, description)
        found = sha256(folder / "snapshots" / file)
        snapshots.append({"images_seen": images, "file": file, "sha256": found})
    record = {"name": name, "settings": settings.plain(), "snapshots": snapshots}
    record["model_sha256"] = sha256(folder / "model.safetensors")
    write_json(folder / "run.json", record)
    return folder
