"""Evaluating a run: every snapshot sampled, its distances to the real images computed."""

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dansm.config import Part, RunSettings, Sampling
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.arrays import write_arrays
from dansm.io.files import sha256, write_json
from dansm.io.notes import append_note, read_notes
from dansm.io.provenance import provenance
from dansm.io.run_folder import RUN, SNAPSHOTS, read_run
from dansm.io.tables import DISTANCE_COLUMNS, run_columns, write_table
from dansm.metrics.distances import measure
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.grid_search import read_grids
from dansm.metrics.memorising import COMPARED, Memorising
from dansm.metrics.png import kept_as_png
from dansm.metrics.sampling import Decode, Images, generate
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.networks import make_network
from dansm.models.trained import snapshot_description
from dansm.models.weights import load_weights
from dansm.processes.samplers import Sampler

PNG = "png"
GRID_IMAGES = 64


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
        """What identifies the task among those of its run."""
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
        Feature extractors, each with the real images' features by part: of training images, and
        of held-out ones.
    memorising
        What the last snapshot's images are compared with to see which are remembered; None where
        no images are held out.
    searched
        Files of time grids that were searched for the run.

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
        metrics: Sequence[tuple[Extractor, Mapping[Part, ReferenceFeatures]]],
        memorising: Memorising | None = None,
        searched: Sequence[Path] = (),
    ) -> None:
        self.settings, self.sampling, self.folder = settings, sampling, Path(folder)
        self.store, self.decode, self.metrics = store, decode, metrics
        self.memorising = memorising
        self.columns = run_columns(run, settings)
        self.snapshots = _checked_snapshots(self.folder, run, settings)
        self.grids = read_grids(searched, self.snapshots[-1]["sha256"])
        self.samplers = {
            name: Sampler(settings.process, solver, self.grids.get(solver.options.get("grid")))
            for name, solver in sampling.samplers.items()
        }
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network: nn.Module = make_network(settings.network, settings.shape).to(device).eval()
        self._loaded: str | None = None
        self._shown: defaultdict[str, list[Images]] = defaultdict(list)  # by task
        self._nearest: dict[str, np.ndarray] = {}

    def tasks(self) -> list[Task]:
        """Return all sets of samples that the sampling plan asks for."""
        final = self.snapshots[-1]
        return [
            Task(at["images_seen"], at["file"], sampler, steps, image_set, at is final)
            for at in self.snapshots
            for sampler, steps, sets in self.sampling.sets(at is final)
            for image_set in range(sets)
        ]

    def evaluate(self, table: Path, samples: Path, description: Path) -> None:
        """Write the table of distances and the images for the sample grids.

        The description says what the table was measured with. If the sampling asks to keep images,
        the run's folder ``png`` holds those of the last snapshot, a folder for each set. Sets of
        samples that are measured are noted in ``evaluation.jsonl`` beside the table until it is
        complete, so an interrupted evaluation continues.
        """
        self.png = Path(table).parent / PNG
        notes = Path(table).parent / "training" / "evaluation.jsonl"
        identity = json.dumps(self.description(), sort_keys=True)
        done = read_notes(notes, identity)
        if not done:
            # Images of an earlier evaluation would mix with those of this one.
            shutil.rmtree(self.png, ignore_errors=True)
        rows: list[dict[str, Any]] = []
        tasks, count = self.tasks(), self.sampling.n_samples
        finished = count * sum(task.key in done for task in tasks)
        bar = {"unit": "images", "desc": "sampling", "mininterval": 1}
        with tqdm(total=len(tasks) * count, initial=finished, **bar) as progress:
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
            **({"searched": self.grids} if self.grids else {}),
            "features": {
                extractor.name: {
                    "weights_sha256": extractor.weights,
                    "real_images": {part: one.count for part, one in references.items()},
                    "real_images_kept": {
                        part: len(one.features) for part, one in references.items()
                    },
                }
                for extractor, references in self.metrics
            },
        }

    def measure(self, task: Task, progress: tqdm) -> list[dict[str, Any]]:
        """Return a row per metric, feature extractor and reference, advancing the progress.

        Images go from the network to the extractors on their device; only features leave it, and
        the images themselves where PNG files are to be kept.
        """
        found: list[list[Features]] = [[] for _ in self.metrics]
        evaluations, first = [], _First(COMPARED)
        batches = self._generate(task)
        if self.sampling.keep_png and task.last:
            batches = kept_as_png(batches, self.png / task.png_folder, self.store)
        for images, nfe in batches:
            evaluations.append(nfe)
            for parts, (extractor, _) in zip(found, self.metrics, strict=True):
                parts.append(extractor(images))
            first.add(images)
            progress.update(len(images))
        by_name = {
            extractor.name: Features.joined(parts)
            for parts, (extractor, _) in zip(found, self.metrics, strict=True)
        }
        rows = [
            {"feature_extractor": extractor.name, "reference": part, **measurement._asdict()}
            for extractor, references in self.metrics
            for part, reference in references.items()
            for measurement in measure(
                by_name[extractor.name], reference, extractor, everything=task.last
            )
        ]
        if self.memorising is not None and task.last:
            features = {name: of_images.features for name, of_images in by_name.items()}
            rows += self.memorising.measure(first.images(), features)
            if task == self._remembered():
                self._nearest = self.memorising.nearest_images(first.images())
        about = {
            **self.columns,
            "images_seen": task.images_seen,
            "sampler": task.sampler,
            "steps": task.steps or None,
            # Adaptive samplers may take another number for each batch.
            "nfe": float(np.mean(evaluations)),
            "image_set": task.image_set,
        }
        return [about | row for row in rows]

    def _remembered(self) -> Task:
        """Return the task whose images that look most like copies are kept.

        It is of the most steps that all sets of images are sampled with.
        """
        last = [task for task in self.tasks() if task.last]
        most = max(task.image_set for task in last)
        sampled = [task for task in last if task.image_set == most]
        return max(sampled, key=lambda task: (task.steps, task.sampler))._replace(image_set=0)

    def save_grids(self, path: Path) -> None:
        """Save the first images of each sampler and step count of the last snapshot."""
        grids: dict[str, np.ndarray] = {"value_range": np.array(self.store.value_range)}
        for task in self.tasks():
            if task.last and task.image_set == 0:
                # Those measured before an interruption are made once more, in the same batches.
                batches = self._generate(task)
                while self._missing(task) > 0:
                    next(batches)
                key, shown = f"{task.sampler}-{task.steps}", self._shown[task.key]
                grids[key] = torch.cat([batch.images for batch in shown]).numpy()
                grids[f"{key}-nfe"] = np.mean([batch.nfe for batch in shown])
        if self.memorising is not None:
            task = self._remembered()
            if not self._nearest:  # measured before an interruption
                first = _First(COMPARED)
                for batch in self._generate(task):
                    first.add(batch.images)
                self._nearest = self.memorising.nearest_images(first.images())
            grids |= {"nearest-of": np.array(f"{task.sampler}-{task.steps}"), **self._nearest}
        write_arrays(path, grids)

    def _missing(self, task: Task) -> int:
        """Return how many of a task's images the grids still lack."""
        shown = sum(len(batch.images) for batch in self._shown[task.key])
        return min(GRID_IMAGES, self.sampling.n_samples) - shown

    def _generate(self, task: Task) -> Iterator[Images]:
        """Yield a task's images in batches, and keep those that the grids lack."""
        if self._loaded != task.file:
            expected = snapshot_description(self.settings, task.images_seen)
            load_weights(self.folder / SNAPSHOTS / task.file, self.network, expected)
            self._loaded = task.file
        count = self.sampling.n_samples
        for batch in generate(
            self.network,
            self.samplers[task.sampler],
            self.store,
            self.decode,
            shape=self.settings.shape,
            steps=task.steps,
            first=task.image_set * count,
            count=count,
            batch_size=self.sampling.batch_size,
        ):
            if task.last and task.image_set == 0 and (missing := self._missing(task)) > 0:
                self._shown[task.key].append(Images(batch.images[:missing].cpu(), batch.nfe))
            yield batch


class _First:
    """The first of images that come in batches."""

    def __init__(self, most: int) -> None:
        self.left = most
        self.parts: list[torch.Tensor] = []

    def add(self, images: torch.Tensor) -> None:
        self.parts.append(images[: self.left])
        self.left -= len(self.parts[-1])

    def images(self) -> torch.Tensor:
        return torch.cat(self.parts)


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
