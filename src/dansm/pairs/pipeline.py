"""Pairs of a noise and the latents that a text-to-image pipeline makes of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dansm.data.pair_store import Trajectories, write_pairs
from dansm.errors import InputError
from dansm.models.pipelines import load_pipeline, read_report, sample_latents
from dansm.pairs.paths import preferable_noises


def make_pipeline_pairs(
    name: str,
    folder: Path,
    prompts: Sequence[str],
    licence: str,
    *,
    shape: Sequence[int],
    steps: int,
    guidance_scale: float,
    batch_size: int,
    count: int,
    work: Path,
    path: Path,
) -> None:
    """Write the store of a pipeline's pairs: the preferable noises, and what it makes of them.

    Pair k is of noise k and of prompt k, after the last of which the first follows. It is made
    with the others of batch ``k // batch_size``, which is always full.

    Parameters
    ----------
    name, folder
        The pipeline's.
    licence
        Of the store.
    shape
        Of its latents.
    work, path
        Folders of the batches that are done, until all are, and of the store.

    Raises
    ------
    InputError
        If there are more steps than the pipeline's scheduler has; or see `load_pipeline` and
        `write_pairs`.
    """
    pipeline = load_pipeline(folder, "cuda" if torch.cuda.is_available() else "cpu")
    most = pipeline.scheduler.config.num_train_timesteps
    if steps > most:
        raise InputError(
            f"noise_sample_pairs.{name}.pipeline.steps: expected at most {most}, as many as the "
            f"scheduler in {folder} has, found {steps}"
        )

    def make(pairs: range) -> Trajectories:
        noise = preferable_noises(pairs.stop, shape)[pairs.start :]
        chosen = [prompts[k % len(prompts)] for k in pairs]
        latents = sample_latents(pipeline, chosen, noise, steps, guidance_scale)
        # Schedulers that start with more evaluations than one a step count them as steps.
        return Trajectories(torch.stack([noise, latents], dim=1), len(pipeline.scheduler.timesteps))

    report = read_report(folder)
    identity: dict[str, Any] = {
        "teacher": {"dataset": name, "shape": list(shape), "pipeline": report},
        "prompts": list(prompts),
        "scheduler": type(pipeline.scheduler).__name__,
        "steps": steps,
        "guidance_scale": guidance_scale,
        "run": name,
        "count": count,
        "states": 0,
        "inverted": 0,
    }
    of = {"source": report["source"], "licence": licence, "spent": {}}
    write_pairs(path, work, make, identity, [], batch_size, **of)
