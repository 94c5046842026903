"""Models of finished runs, to be taken away: what plain diffusers loads, and a card that says what.

The card's code and table are made, never typed.
"""

import shutil
import tempfile
from pathlib import Path

import pandas as pd
from huggingface_hub import ModelCardData

from dansm.catalogue import COUPLINGS, PROCESSES
from dansm.config import RunSettings
from dansm.errors import InputError
from dansm.figures.base import OWN, metric_title, sampler_title, steps_name
from dansm.io.files import check_full_disk, read_json, sha256, write_text
from dansm.io.model_folder import CONFIG, WEIGHTS
from dansm.io.run_folder import RUN, read_run
from dansm.io.tables import DISTANCE_COLUMNS, read_table
from dansm.metrics.intervals import half_width
from dansm.models.diffusers_folder import save_model_folder
from dansm.models.trained import load_model

_CARD, _AUTOENCODER = "README.md", "vae"


def export_run(folder: Path, path: Path, licence: str, autoencoder: Path | None = None) -> None:
    """Write a finished run's model as a folder of diffusers with a model card.

    Parameters
    ----------
    folder
        Of the run.
    path
        The new folder. It gets its name when it is complete.
    licence
        That of the dataset.
    autoencoder
        Folder of the one that a model of latents needs; it is taken along.

    Raises
    ------
    InputError
        If the run is not finished or not as it was left, diffusers cannot sample its process, or
        the folder exists.
    """
    if not (folder / RUN).is_file():
        raise InputError(f"{folder}: expected a finished run, found no {RUN}")
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: expected the name of a new folder, found one that exists")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: expected a name in a folder that exists")
    settings = read_run(folder).settings
    network = load_model(folder, settings, "cpu")
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".") as place:
            made = Path(place) / "model"
            made.mkdir()
            save_model_folder(network, settings.process, made)
            if autoencoder is not None:
                shutil.copytree(
                    autoencoder, made / _AUTOENCODER, ignore=shutil.ignore_patterns(".*")
                )
            weights = sha256(made / WEIGHTS)
            write_text(made / _CARD, _card(folder, settings, licence, weights, autoencoder))
            made.rename(path)
    except OSError as error:
        check_full_disk(error, path)
        raise InputError(f"{path}: {error.strerror or error}") from error


def _card(
    folder: Path, settings: RunSettings, licence: str, weights: str, autoencoder: Path | None
) -> str:
    record = read_json(folder / RUN)
    process, coupling = settings.process, settings.coupling
    matched = COUPLINGS[coupling.name].label(coupling.options)
    told = ModelCardData(
        library_name="diffusers",
        pipeline_tag="unconditional-image-generation",
        license="other",
        license_name=licence,
        tags=[process.name, coupling.name],
    )
    channels, height, width = settings.shape
    version = record.get("versions", {}).get("dansm") or "of an unknown version"
    commit = f"commit {record.get('commit') or 'unknown'}"
    if record.get("uncommitted_changes"):
        commit += " with changes that were not committed"
    samples = "images in [-1, 1]"
    if autoencoder is not None:
        origin = read_json(autoencoder / "report.json")["source"]
        samples = f"latents of {origin} (`{_AUTOENCODER}`)"
    facts = {
        "data": f"{settings.dataset}, licence: {licence}",
        "samples": f"{samples}, {channels}×{height}×{width}",
        "process": f"`{process.text}`: {PROCESSES[process.name].summary}",
        "coupling of noise and data": f"{matched}: {COUPLINGS[coupling.name].summary}",
        "training": f"{settings.steps * settings.batch_size:,} images in batches of "
        f"{settings.batch_size}, seed {settings.seed}, weights averaged with decay "
        f"{settings.ema_decay}",
        "made by": f"dansm {version}, {commit}, run {record['name']}",
        "SHA-256": f"{weights} of the weights here, {record['model_sha256']} of the run's",
    }
    parts = [
        f"---\n{told.to_yaml()}\n---",
        f"# {record['name']} on {settings.dataset}",
        "\n".join(f"- **{name}**: {fact}" for name, fact in facts.items()),
        f"## Sampling\n\n```python\n{_code(settings, autoencoder)}```",
        f"From the same noises the samples are the run's, to rounding: {_STEPS[process.name]}.",
        f"## Distances\n\n{_distances(folder / 'distances.csv')}",
        "The coupling greedy is that of *Easing Training Process of Rectified Flow Models Via "
        "Lengthening Inter-Path Distance* (ICLR 2025, https://openreview.net/forum?id=RaR3ETzyKp).",
    ]
    return "\n\n".join(parts) + "\n"


_STEPS = {
    "rectified_flow": "with any number of steps that begin at σ = 0.999, where training ended",
    "diffusion": "with any number of steps that divides 1000",
}
_SCHEDULERS = {
    "rectified_flow": (
        "FlowMatchEulerDiscreteScheduler",
        "scheduler.set_timesteps(sigmas=np.linspace(0.999, 0, 10, endpoint=False))",
    ),
    "diffusion": ("DDIMScheduler", "scheduler.set_timesteps(10)"),
}


def _code(settings: RunSettings, autoencoder: Path | None) -> str:
    scheduler, steps = _SCHEDULERS[settings.process.name]
    numpy = "import numpy as np\n" if "np." in steps else ""
    config = {} if autoencoder is None else read_json(autoencoder / CONFIG)
    also = "" if autoencoder is None else f"{config['_class_name']}, "
    lines = [
        f"{numpy}import torch",
        f"from diffusers import {also}{scheduler}, UNet2DModel",
        "",
        'folder = "."  # or where it lies on the hub',
        "model = UNet2DModel.from_pretrained(folder).eval()",
        f"scheduler = {scheduler}.from_pretrained(folder)",
        steps,
        f"points = torch.randn(4, {', '.join(map(str, settings.shape))})",
        "with torch.no_grad():",
        "    for time in scheduler.timesteps:",
        "        points = scheduler.step(model(points, time).sample, time, points).prev_sample",
    ]
    if autoencoder is not None:
        shift = f" + {config['shift_factor']}" if config.get("shift_factor") else ""
        lines += [
            f"    # Of a folder on the hub: from_pretrained(folder, subfolder='{_AUTOENCODER}').",
            f'    place = f"{{folder}}/{_AUTOENCODER}"',
            f"    autoencoder = {config['_class_name']}.from_pretrained(place)",
            f"    scaled = points / {config['scaling_factor']}{shift}",
            "    points = autoencoder.decode(scaled).sample",
        ]
    return "\n".join([*lines, "images = (points.clamp(-1, 1) + 1) / 2"]) + "\n"


def _distances(path: Path) -> str:
    if not path.exists():
        return "Not measured."
    table = read_table(path, DISTANCE_COLUMNS)
    finals = table[table["images_seen"] == table["images_seen"].max()]
    key = ["metric", "feature_extractor", "reference", "sampler", "steps", "nfe", "n_samples"]
    lines = ["| metric | sampler | evaluations | images | value |", "| --- " * 5 + "|"]
    for found, rows in finals.groupby(key, dropna=False, sort=False):
        metric, extractor, reference, sampler, steps, nfe, images = found
        steps = steps_name(OWN if pd.isna(steps) else int(steps))
        values = rows["value"].to_numpy(float)
        half = half_width(values) if len(values) > 1 else None
        lines.append(
            f"| {metric_title(metric, extractor, reference)} | {sampler_title(sampler)}, {steps} | "
            f"{nfe:g} | {len(values)} × {images} | {values.mean():.4g}"
            f"{'' if half is None else f' ± {half:.2g}'} |"
        )
    return (
        "Mean and half of its 95 % interval over sets of generated images, of this one training: "
        "another seed's is another.\n\n" + "\n".join(lines)
    )
