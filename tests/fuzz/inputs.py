"""What is damaged, and how a job takes it up."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from dansm.analysis.distances import collect_distances, summarise
from dansm.catalogue import Pick
from dansm.data.pair_store import open_pairs
from dansm.data.store import open_store
from dansm.figures.pairs import noise_sample_tsne, path_geometry
from dansm.figures.samples import read_samples
from dansm.io.notes import read_notes
from dansm.io.records import Records, recorded
from dansm.io.tables import COMPARISON_COLUMNS, CROSSING_COLUMNS, PATH_COLUMNS, read_table
from dansm.metrics.classifier import load_classifier
from dansm.metrics.evaluation import RunEvaluator
from dansm.metrics.extractors import make_extractor
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import Codec
from dansm.models.trained import load_model
from dansm.pairs.paths import read_pairs
from dansm.pairs.teacher import make_pairs
from dansm.training.inputs import coupling_inputs
from dansm.training.trainer import Trainer

from ..unit.factories import make_sampling, make_settings

RUN = "vanilla"
SETTINGS = make_settings(shape=(1, 8, 8), budget_images=48, snapshots=2)
SAMPLING = make_sampling(n_samples=8, image_sets=1, final_one_set={}, final={"euler": [2, 3]})
CLASSIFIER = {"channels": 4, "features": 8, "epochs": 1, "batch_size": 20, "learning_rate": 0.01}
CLASSIFIER |= {"seed": 0}


# By Euler's method in 3 steps, 20 pairs with a state between.
PAIRS = Pick("euler"), 3, 20, 1


class Results:
    """Names in a results folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "data" / "toy"
        self.autoencoder = folder / "autoencoders" / "small"
        self.classifier = folder / "classifiers" / "toy"
        self.potentials = folder / "potentials" / "toy" / "semidiscrete.npz"
        self.run = folder / "runs" / "toy" / RUN / "seed0"
        self.interrupted = folder / "runs" / "toy" / "interrupted" / "seed0"
        self.notes = self.interrupted / "training" / "evaluation.jsonl"
        self.features = folder / "features" / "toy" / "training" / "classifier.npz"
        self.distances = folder / "distances_toy.csv"
        self.pairs = folder / "pairs" / "toy" / RUN / "seed0" / "pairs"
        self.batches = folder / "encoding" / "pairs"
        self.draws = folder / "noise_sample_pairs" / "toy.npz"
        self.embedding = folder / "noise_sample_pairs" / "toy.tsne.npz"
        self.paths = folder / "paths_toy.csv"
        self.crossings = folder / "crossings_toy.csv"


class Artifact(NamedTuple):
    """Files of one kind, and what a job takes from them."""

    files: Callable[[Results], Iterator[Path] | list[Path]]
    take: Callable[[Results], Any]
    # What a job declares as its input, which is compared with the record of the job that made it.
    inputs: Callable[[Results], list[Path]] = lambda made: []


def weights(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def evaluator(made):
    extractor = make_extractor(
        "classifier",
        open_store(made.store),
        classifier=CLASSIFIER,
        classifier_path=made.classifier,
    )
    reference = ReferenceFeatures.load(made.features, extractor.identity)
    store = open_store(made.store)
    return RunEvaluator(
        RUN,
        SETTINGS,
        SAMPLING,
        made.run,
        store,
        lambda x: x,
        [(extractor, {"training": reference})],
    )


def collected(made):
    path = made.folder.parent / "collected.csv"
    baselines = {"rectified_flow": RUN}
    collect_distances([made.run], [], path, dataset="toy", baselines=baselines)
    return path


def resumed(made):
    trainer = Trainer(SETTINGS, open_store(made.store), made.interrupted)
    trainer.resume()
    return [trainer.step, weights(trainer.bare_network), trainer.stats, trainer.snapshots]


def snapshots(made):
    evaluating = evaluator(made)
    found = []
    for task in evaluating.tasks():
        found += [batch.images.numpy() for batch in evaluating._generate(task)]
    return found


def joined(made):
    """Finish the store of which some batches are done."""
    with tempfile.TemporaryDirectory() as folder:
        work, path = Path(folder) / "batches", Path(folder) / "pairs"
        shutil.copytree(made.batches, work)
        make_pairs(SETTINGS, made.run, *PAIRS, work, path, batch_size=8)
        return open_pairs(path).points.numpy().copy()


def drawn(figure):
    return [[line.get_xydata() for line in axes.lines] for axes in figure.axes]


ARTIFACTS = {
    "store": Artifact(
        lambda made: sorted(made.store.iterdir()),
        lambda made: [(s := open_store(made.store)).batch(np.arange(60)).numpy(), s.labels],
        lambda made: [made.store],
    ),
    "autoencoder": Artifact(
        lambda made: sorted(made.autoencoder.iterdir()),
        lambda made: weights(Codec.load(made.autoencoder).model),
        lambda made: [made.autoencoder],
    ),
    "classifier": Artifact(
        lambda made: sorted(made.classifier.glob("*.safetensors")),
        lambda made: weights(load_classifier(make_classifier(), (1, 8, 8), made.classifier)),
        lambda made: [made.classifier],
    ),
    "potentials": Artifact(
        lambda made: [made.potentials],
        lambda made: coupling_inputs(Pick("semidiscrete"), open_store(made.store), made.potentials)[
            "potentials"
        ].values.numpy(),
        lambda made: [made.potentials],
    ),
    "weights": Artifact(
        lambda made: [made.run / "model.safetensors"],
        lambda made: weights(load_model(made.run, SETTINGS)),
        lambda made: [made.run / "model.safetensors"],
    ),
    "snapshots": Artifact(
        lambda made: [made.run / "run.json", *sorted((made.run / "snapshots").iterdir())],
        snapshots,
        lambda made: [made.run / "run.json"],
    ),
    "features": Artifact(
        lambda made: [made.features],
        lambda made: [
            (r := evaluator(made).metrics[0][1]["training"]).features,
            r.mean,
            r.covariance,
            r.count,
        ],
        lambda made: [made.features],
    ),
    "samples": Artifact(
        lambda made: [made.run / "samples.npz"],
        lambda made: read_samples(str(made.run / "samples.npz")),
        lambda made: [made.run / "samples.npz"],
    ),
    "pairs": Artifact(
        lambda made: sorted(made.pairs.iterdir()),
        lambda made: open_pairs(made.pairs).points.numpy(),
        lambda made: [made.pairs],
    ),
    "draws": Artifact(
        lambda made: [made.draws],
        lambda made: [(p := read_pairs(made.draws)).samples.numpy(), *p[1:]],
        lambda made: [made.draws],
    ),
    "distances": Artifact(
        lambda made: [made.distances],
        lambda made: summarise(read_table(made.distances, COMPARISON_COLUMNS)),
        lambda made: [made.distances],
    ),
    "statistics": Artifact(
        lambda made: [made.run / "stats.jsonl", made.run / "distances.csv"],
        lambda made: collected(made).read_bytes(),
        lambda made: [made.run / "distances.csv"],
    ),
    "paths": Artifact(
        lambda made: [made.paths],
        lambda made: drawn(path_geometry(read_table(made.paths, PATH_COLUMNS), "toy")),
        lambda made: [made.paths],
    ),
    "crossings": Artifact(
        lambda made: [made.crossings, made.embedding],
        lambda made: drawn(
            noise_sample_tsne(read_table(made.crossings, CROSSING_COLUMNS), made.embedding, "toy")
        ),
        lambda made: [made.crossings, made.embedding],
    ),
    "state": Artifact(lambda made: [made.interrupted / "training" / "state.pt"], resumed),
    # Batches that are done of a store in the making.
    "batches": Artifact(lambda made: sorted(made.batches.iterdir()), joined),
    # What is not whole is measured again.
    "notes": Artifact(
        lambda made: [made.notes], lambda made: read_notes(made.notes, "these settings")
    ),
    # Of a record a job takes what it says of its inputs.
    "records": Artifact(
        lambda made: sorted((made.folder / "jobs").rglob("*.json")),
        lambda made: [
            Records(made.folder).taken_up(path)
            for artifact in ARTIFACTS.values()
            for path in artifact.inputs(made)
        ],
    ),
}


def make_classifier():
    from dansm.config import Classifier

    return Classifier.model_validate(CLASSIFIER)


def taken_up(made: Results, artifact: Artifact, declared: bool) -> str:
    """Return a digest of what a job, or whoever declares no inputs, takes from an artifact."""
    digest = hashlib.sha256()
    inputs = artifact.inputs(made) if declared else []
    with recorded(made.folder, "fuzz", "job", [], inputs=inputs):
        _add(digest, artifact.take(made))
    return digest.hexdigest()


def _add(digest, value):
    if isinstance(value, np.ndarray):
        digest.update(
            f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
        )
    elif isinstance(value, torch.Tensor):
        _add(digest, value.numpy())
    elif isinstance(value, pd.DataFrame):
        digest.update(value.to_csv().encode())
    elif isinstance(value, dict):
        for key, part in value.items():
            digest.update(repr(key).encode())
            _add(digest, part)
    elif isinstance(value, list | tuple):
        for part in value:
            _add(digest, part)
    else:
        digest.update(repr(value).encode())
