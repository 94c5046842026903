"""Evaluating a run: every snapshot sampled, its distances to the real images computed."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dansm.config import RunSettings, Sampling
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import atomic_path, sha256, write_json
from dansm.io.notes import append_note, read_notes
from dansm.io.provenance import provenance
from dansm.io.run_folder import RUN, SNAPSHOTS, read_run
from dansm.io.tables import DISTANCE_COLUMNS, run_columns, write_table
from dansm.metrics.distances import measure
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.png import kept_as_png
from dansm.metrics.sampling import Decode, Images, generate
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.networks import make_network
from dansm.models.trained import snapshot_description
from dansm.models.weights import load_weights
from dansm.processes.samplers import Sampler

PNG = "png"
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
    image_set: int
    last: bool

    @property
    def key(self) -> str:
        """Identify the task among those of its run."""
        return f"{self.file} {self.sampler} {self.steps} {self.image_set}"

    @property
    def png_folder(self) -> str:
        """Where its images are kept, below the run's `PNG`."""
        return f"{self.sampler}-{self.steps}/set{self.image_set}"


class RunEvaluator:
    """Samples the snapshots of one finished run and measures them.

    Parameters
    ----------
    run, settings
        The name of the run that the folder must hold, and what it is.
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
        run: str,
        settings: RunSettings,
        sampling: Sampling,
        folder: Path,
        store: Store,
        decode: Decode,
        metrics: dict[str, Metric],
    ) -> None:
        self.settings, self.sampling, self.folder = settings, sampling, Path(folder)
        self.store, self.decode, self.metrics = store, decode, metrics
        self.columns = run_columns(run, settings)
        self.samplers = {
            name: Sampler(settings.process, solver) for name, solver in sampling.samplers.items()
        }
        self.snapshots = _checked_snapshots(self.folder, run, settings)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: nn.Module = make_network(settings.network, settings.shape).to(device).eval()
        self._loaded: str | None = None
        self._shown: defaultdict[str, list[Images]] = defaultdict(list)  # by task

    def tasks(self) -> list[Task]:
        """Return all sets of samples that the sampling plan asks for."""
        final = self.snapshots[-1]
        return [
            Task(
                snapshot["images_seen"],
                snapshot["file"],
                sampler,
                steps,
                image_set,
                snapshot is final,
            )
            for snapshot in self.snapshots
            for sampler, steps, sets in self.sampling.sets(snapshot is final)
            for image_set in range(sets)
        ]

    def evaluate(self, table: Path, samples: Path, description: Path) -> None:
        """Write the table of distances and the images for the sample grids.

        The description says what the table was measured with. If the sampling asks to keep images,
        the run's folder ``png`` holds those of the last snapshot, a folder for each set. Sets of
        samples that are measured are noted in ``evaluation.jsonl`` beside the table until it is
        complete, so an interrupted evaluation continues.
        """
        notes = Path(table).parent / "training" / "evaluation.jsonl"
        identity = json.dumps(self.description(), sort_keys=True)
        done = read_notes(notes, identity)
        if not done:
            # Images of an earlier evaluation would mix with those of this one.
            shutil.rmtree(self.folder / PNG, ignore_errors=True)
        rows: list[dict[str, Any]] = []
        tasks, count = self.tasks(), self.sampling.n_samples
        finished = count * sum(task.key in done for task in tasks)
        with tqdm(
            total=len(tasks) * count,
            initial=finished,
            unit="images",
            desc="sampling",
            mininterval=1,
        ) as progress:
            for task in tasks:
                if task.key not in done:
                    done[task.key] = self.measure(task, progress)
                    append_note(notes, identity, task.key, done[task.key])
                rows += done[task.key]
        self.save_grids(samples)
        write_json(description, {**self.description(), "provenance": provenance()})
        write_table(table, rows, DISTANCE_COLUMNS)
        notes.unlink(missing_ok=True)

    def description(self) -> dict[str, Any]:
        """Return what the run is measured with, and which run it is."""
        return {
            "run_sha256": sha256(self.folder / RUN),
            "sampling": self.sampling.plain(),
            "features": {
                name: {
                    "weights_sha256": metric.extractor.weights,
                    "real_images": metric.reference.count,
                    "real_images_kept": len(metric.reference.features),
                }
                for name, metric in self.metrics.items()
            },
        }

    def measure(self, task: Task, progress: tqdm) -> list[dict[str, Any]]:
        """Return one row per metric and feature extractor, advancing the progress by images.

        Images go from the network to the extractors on their device; only features leave it, and
        the images themselves where PNG files are to be kept.
        """
        found: dict[str, list[Features]] = {name: [] for name in self.metrics}
        evaluations = []
        count = self.sampling.n_samples
        batches = self._generate(task, task.image_set * count, count)
        if self.sampling.keep_png and task.last:
            batches = kept_as_png(batches, self.folder / PNG / task.png_folder, self.store)
        for batch in batches:
            self._show(task, batch)
            images, nfe = batch
            evaluations.append(nfe)
            for name, metric in self.metrics.items():
                found[name].append(metric.extractor(images))
            progress.update(len(images))
        return [
            {
                **self.columns,
                "images_seen": task.images_seen,
                "sampler": task.sampler,
                "steps": task.steps or None,
                # Adaptive samplers may take another number for each batch.
                "nfe": float(np.mean(evaluations)),
                "image_set": task.image_set,
                "feature_extractor": name,
                **measurement._asdict(),
            }
            for name, metric in self.metrics.items()
            for measurement in measure(
                Features.joined(found[name]),
                metric.reference,
                metric.extractor,
                everything=task.last,
            )
        ]

    def save_grids(self, path: Path) -> None:
        """Save the first images of each sampler and step count of the last snapshot."""
        grids: dict[str, np.ndarray] = {"value_range": np.array(self.store.value_range)}
        for task in self.tasks():
            if task.last and task.image_set == 0:
                # Those measured before an interruption are made once more, in the same batches.
                batches = self._generate(task, 0, self.sampling.n_samples)
                while self._missing(task) > 0:
                    self._show(task, next(batches))
                key, shown = f"{task.sampler}-{task.steps}", self._shown[task.key]
                grids[key] = torch.cat([batch.images for batch in shown]).numpy()
                grids[f"{key}-nfe"] = np.mean([batch.nfe for batch in shown])
        with atomic_path(path) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **grids)

    def _missing(self, task: Task) -> int:
        """Return how many of a task's images the grids still lack."""
        shown = sum(len(batch.images) for batch in self._shown[task.key])
        return min(GRID_IMAGES, self.sampling.n_samples) - shown

    def _show(self, task: Task, batch: Images) -> None:
        """Keep the images of a batch that the grids still lack."""
        if task.last and task.image_set == 0 and (missing := self._missing(task)) > 0:
            self._shown[task.key].append(Images(batch.images[:missing].cpu(), batch.nfe))

    def _generate(self, task: Task, first: int, count: int) -> Iterator[Images]:
        if self._loaded != task.file:
            expected = snapshot_description(self.settings, task.images_seen)
            load_weights(self.folder / SNAPSHOTS / task.file, self.network, expected)
            self._loaded = task.file
        yield from generate(
            self.network,
            self.samplers[task.sampler],
            self.store,
            self.decode,
            shape=self.settings.shape,
            steps=task.steps,
            first=first,
            count=count,
            batch_size=self.sampling.batch_size,
        )


def _checked_snapshots(folder: Path, name: str, settings: RunSettings) -> list[dict[str, Any]]:
    run = read_run(folder)
    if (run.name, run.settings) != (name, settings):
        raise InputError(
            f"{folder / RUN}: expected the run {name}, {settings.canonical_json()}, found "
            f"{run.name}, {run.settings.canonical_json()}"
        )
    snapshots = [snapshot.model_dump() for snapshot in run.snapshots]
    for snapshot in snapshots:
        path = folder / SNAPSHOTS / snapshot["file"]
        if not path.is_file():
            raise InputError(f"{path}: expected the snapshot named in {RUN}, found no file")
        checksum = sha256(path)
        if checksum != snapshot["sha256"]:
            raise InputError(
                f"{path}: expected sha256 {snapshot['sha256']} as in {RUN}, found {checksum} "
                f"({path.stat().st_size} bytes)"
            )
    return snapshots
