"""What a small workflow leaves when it has finished, made by the library, once."""

import numpy as np
import pytest
import torch

from dansm.analysis.distances import collect_distances
from dansm.config import Classifier, TrainedAutoencoder
from dansm.couplings import fit_potentials
from dansm.data.store import open_store, write_store
from dansm.errors import InterruptedTraining
from dansm.io.notes import append_note
from dansm.io.records import recorded
from dansm.metrics.classifier import train_classifier
from dansm.metrics.evaluation import RunEvaluator
from dansm.metrics.extractors import make_extractor
from dansm.metrics.reference import compute_reference
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import train_autoencoder
from dansm.pairs.crossings import count_crossings
from dansm.pairs.draws import TrainedRun, draw_pairs
from dansm.pairs.paths import measure_paths, read_pairs
from dansm.pairs.teacher import make_pairs
from dansm.training.trainer import Trainer, train

from .inputs import CLASSIFIER, PAIRS, RUN, SAMPLING, SETTINGS, Results


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("project") / "results"
    made = Results(folder)

    def job(rule, *outputs, inputs=()):
        return recorded(folder, rule, "toy", outputs, inputs=inputs)

    rng = np.random.default_rng(0)
    with job("build_dataset", made.store):
        write_store(
            made.store,
            [rng.integers(0, 17, (60, 1, 8, 8), dtype=np.uint8)],
            count=60,
            shape=(1, 8, 8),
            dtype="uint8",
            value_range=(0, 16),
            shard_bytes=64 * 25,
            source="random",
            licence="none",
            labels=rng.integers(0, 10, 60),
        )
    store = open_store(made.store)
    with job("train_autoencoder", made.autoencoder, inputs=[made.store]):
        settings = {
            "kind": "trained",
            "seed": 0,
            "dataset": "toy",
            "channels": [4],
            "latent_channels": 1,
            "budget_images": 16,
        }
        settings |= {"batch_size": 8, "learning_rate": 1e-3, "kl_weight": 1e-6}
        train_autoencoder(TrainedAutoencoder.model_validate(settings), store, made.autoencoder)
    with job("train_classifier", made.classifier, inputs=[made.store]):
        train_classifier(Classifier.model_validate(CLASSIFIER), store, store, made.classifier)
    with job("fit_potentials", made.potentials, inputs=[made.store]):
        fit_potentials(store.batch(np.arange(60)), seed=0, steps=20, batch_size=8).save(
            made.potentials
        )
    names = ("model.safetensors", "snapshots", "stats.jsonl", "run.json")
    with job("train_model", *(made.run / name for name in names), inputs=[made.store]):
        train(SETTINGS, store, made.run)
    extractor = make_extractor(
        "classifier", store, classifier=CLASSIFIER, classifier_path=made.classifier
    )
    floor = made.features.with_suffix(".floor.csv")
    with job("compute_reference", made.features, floor, inputs=[made.store, made.classifier]):
        compute_reference(
            store, extractor, dataset="toy", part="training", features=made.features, floor=floor
        )
    reference = ReferenceFeatures.load(made.features, extractor.identity)
    metrics = [(extractor, {"training": reference})]
    outputs = [made.run / name for name in ("distances.csv", "samples.npz", "evaluation.json")]
    with job("evaluate_run", *outputs, inputs=[made.run / "run.json", made.features]):
        RunEvaluator(RUN, SETTINGS, SAMPLING, made.run, store, lambda x: x, metrics).evaluate(
            *outputs
        )
    with job("collect_distances", made.distances, inputs=outputs[:1]):
        baselines = {"rectified_flow": RUN}
        collect_distances([made.run], [floor], made.distances, dataset="toy", baselines=baselines)
    inputs = [made.run / "run.json"]
    with job("make_pairs", made.pairs, inputs=inputs), pytest.MonkeyPatch.context() as patched:
        # The batches stay, as those of a job that was killed.
        patched.setattr("shutil.rmtree", lambda *_, **__: None)
        make_pairs(SETTINGS, made.run, *PAIRS, made.batches, made.pairs, batch_size=8)
    next(made.batches.glob("*00001.npy")).unlink()
    with job("draw_pairs", made.draws, inputs=[made.run / "run.json"]):
        run = TrainedRun(RUN, SETTINGS, made.run, 16)
        sizes = {"draws": 2, "count": 16, "match_sizes": [4], "seed": 0}
        draw_pairs(made.draws, runs=[run], store=None, pairs=None, **sizes)
    with job("measure_paths", made.paths, inputs=[made.draws]):
        measure_paths(read_pairs(made.draws), [4, 8], "toy", made.paths)
    with job("count_crossings", made.crossings, made.embedding, inputs=[made.draws]):
        count_crossings(
            read_pairs(made.draws),
            pairs=8,
            perplexity=3,
            embeddings=2,
            dataset="toy",
            path=made.crossings,
            embedding=made.embedding,
        )
    # Two jobs in the middle of their work.
    cut = Trainer(SETTINGS, store, made.interrupted, state_seconds=0.0)
    advance = cut.advance

    def stop(pair):
        if cut.step == 3:
            raise InterruptedTraining
        advance(pair)

    cut.advance = stop
    with pytest.raises(InterruptedTraining):
        cut.run()
    for key in ("a", "b"):
        append_note(made.notes, "these settings", key, [{"metric": "precision", "value": 0.25}])
    return made
