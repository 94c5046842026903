"""Evaluating a run: every snapshot sampled, its distances to the real images computed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from dansm.config import RunSettings, Sampling
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.evaluation.distances import frechet_distance, kernel_distance
from dansm.evaluation.features import Extractor, ReferenceFeatures, extract
from dansm.evaluation.notes import append_note, read_notes
from dansm.evaluation.sampling import Decode, Images, generate
from dansm.evaluation.table import write_table
from dansm.files import atomic_path, read_json, sha256
from dansm.models.networks import load_weights, make_network
from dansm.processes import PROCESSES
from dansm.training import RUN, SNAPSHOTS, snapshot_description

GRID_IMAGES = 64


class Metric(NamedTuple):
    """A feature extractor with the real images' features."""

    extractor: Extractor
    reference: ReferenceFeatures


class Task(NamedTuple):
    """One set of samples to compare with the real images."""

    images_seen: int
    file: str
    sampler: str
    steps: int
    seed_range: int
    last: bool

    @property
    def key(self) -> str:
        """Identify the task among those of its run."""
        return f"{self.file} {self.sampler} {self.steps} {self.seed_range}"


class RunEvaluator:
    """Samples the snapshots of one finished run and measures them.

    Parameters
    ----------
    settings
        The run that the folder must hold.
    sampling
        Samplers, step counts and sample count.
    folder
        The run's folder, as training left it.
    store
        Pixel store of the real images.
    decode
        From the network's space to images in [-1, 1].
    metrics
        By name of the feature extractor.

    Raises
    ------
    InputError
        If the folder's ``run.json`` is of another run or a snapshot is missing or altered.
    """

    def __init__(
        self,
        settings: RunSettings,
        sampling: Sampling,
        folder: Path,
        store: Store,
        decode: Decode,
        metrics: dict[str, Metric],
    ) -> None:
        self.settings, self.sampling, self.folder = settings, sampling, Path(folder)
        self.store, self.decode, self.metrics = store, decode, metrics
        self.snapshots = _checked_snapshots(self.folder, settings)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: nn.Module = make_network(settings.network, settings.shape).to(device).eval()
        self._loaded: str | None = None

    def tasks(self) -> list[Task]:
        """Return all sets of samples that the sampling plan asks for."""
        tasks = []
        final = self.snapshots[-1]
        for snapshot in self.snapshots:
            last = snapshot is final
            plan = self.sampling.last_snapshot if last else self.sampling.every_snapshot
            for sampler, steps in plan.items():
                for count in steps or [0]:
                    for seed_range in range(self.sampling.last_seed_ranges if last else 1):
                        tasks.append(
                            Task(
                                snapshot["images_seen"],
                                snapshot["file"],
                                sampler,
                                count,
                                seed_range,
                                last,
                            )
                        )
        return tasks

    def evaluate(self, table: Path, samples: Path) -> None:
        """Write the table of distances and the images for the sample grids.

        Sets of samples that are measured are noted in ``evaluation.jsonl`` beside the table until
        it is complete, so an interrupted evaluation continues.
        """
        notes = Path(table).parent / "training" / "evaluation.jsonl"
        identity = sha256(self.folder / RUN) + self.sampling.model_dump_json()
        done = read_notes(notes, identity)
        rows: list[dict[str, Any]] = []
        tasks = self.tasks()
        total = len(tasks) * self.sampling.n_samples
        with tqdm(total=total, unit="images", desc="sampling", mininterval=1) as progress:
            for task in tasks:
                if task.key not in done:
                    done[task.key] = self.measure(task)
                    append_note(notes, identity, task.key, done[task.key])
                rows += done[task.key]
                progress.update(self.sampling.n_samples)
        self.save_grids(samples)
        write_table(table, pd.DataFrame(rows))
        notes.unlink(missing_ok=True)

    def measure(self, task: Task) -> list[dict[str, Any]]:
        """Return one row per metric and feature extractor."""
        features: dict[str, list[np.ndarray]] = {name: [] for name in self.metrics}
        evaluations = []
        count = self.sampling.n_samples
        for images, nfe in self._generate(task, task.seed_range * count, count):
            evaluations.append(nfe)
            for name, metric in self.metrics.items():
                features[name].append(extract(metric.extractor, images))
        rows = []
        for name, metric in self.metrics.items():
            generated = np.concatenate(features[name])
            values = {"frechet_distance": frechet_distance(generated, metric.reference)}
            if task.last:
                values["kernel_distance"] = kernel_distance(generated, metric.reference)
            rows += [
                {
                    "dataset": self.settings.dataset,
                    "process": self.settings.process,
                    "coupling": self.settings.coupling,
                    "match_size": self.settings.match_size,
                    "seed": self.settings.seed,
                    "images_seen": task.images_seen,
                    "sampler": task.sampler,
                    "steps": task.steps or None,
                    # Adaptive samplers may take another number for each batch.
                    "nfe": float(np.mean(evaluations)),
                    "seed_range": task.seed_range,
                    "metric": key,
                    "feature_extractor": name,
                    "n_samples": count,
                    "value": value,
                }
                for key, value in values.items()
            ]
        return rows

    def save_grids(self, path: Path) -> None:
        """Save the first images of each sampler and step count of the last snapshot."""
        grids: dict[str, np.ndarray] = {"value_range": np.array(self.store.value_range)}
        for task in self.tasks():
            if task.last and task.seed_range == 0:
                count = min(GRID_IMAGES, self.sampling.n_samples)
                batches = list(self._generate(task, 0, count))
                key = f"{task.sampler}-{task.steps}"
                grids[key] = np.concatenate([batch.images for batch in batches])
                grids[f"{key}-nfe"] = np.mean([batch.nfe for batch in batches])
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **grids)

    def _generate(self, task: Task, first: int, count: int) -> Iterator[Images]:
        if self._loaded != task.file:
            expected = snapshot_description(self.settings, task.images_seen)
            load_weights(self.folder / SNAPSHOTS / task.file, self.network, expected)
            self._loaded = task.file
        yield from generate(
            self.network,
            PROCESSES[self.settings.process],
            self.store,
            self.decode,
            shape=self.settings.shape,
            sampler=task.sampler,
            steps=task.steps,
            first=first,
            count=count,
            batch_size=self.sampling.batch_size,
        )


def _checked_snapshots(folder: Path, settings: RunSettings) -> list[dict[str, Any]]:
    run = read_json(folder / RUN)
    if run.get("settings") != settings.model_dump(mode="json"):
        raise InputError(
            f"{folder / RUN}: expected the run {settings.canonical_json()}, "
            f"found {json.dumps(run.get('settings'), sort_keys=True)}"
        )
    for snapshot in run["snapshots"]:
        path = folder / SNAPSHOTS / snapshot["file"]
        if not path.is_file():
            raise InputError(f"{path}: expected the snapshot named in {RUN}, found no file")
        found = sha256(path)
        if found != snapshot["sha256"]:
            raise InputError(
                f"{path}: expected sha256 {snapshot['sha256']} as in {RUN}, found {found} "
                f"({path.stat().st_size} bytes)"
            )
    return run["snapshots"]
