"""Sample every snapshot of a run and measure its distance to the real images."""

from pathlib import Path

from dansm.config import RunSettings, Sampling
from dansm.data.store import open_store
from dansm.metrics.evaluation import RunEvaluator
from dansm.metrics.extractors import make_extractor
from dansm.metrics.memorising import Memorising
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import Codec
from dansm.workflow.jobs import job

with job(snakemake):
    store = open_store(snakemake.input.store)
    metrics, files = [], iter(snakemake.input.reference)
    for name in snakemake.params.features:
        extractor = make_extractor(
            name,
            store,
            classifier_path=snakemake.input.get("classifier"),
            **snakemake.params.extractor,
        )
        references = {
            part: ReferenceFeatures.load(next(files), extractor.identity)
            for part in snakemake.params.parts
        }
        metrics.append((extractor, references))
    memorising = None
    if snakemake.input.get("held_out"):
        features = {
            extractor.name: (references["training"].features, references["held_out"].features)
            for extractor, references in metrics
        }
        memorising = Memorising(store, open_store(snakemake.input.held_out), features)
    RunEvaluator(
        snakemake.wildcards.run,
        RunSettings.model_validate(snakemake.params.settings),
        Sampling.model_validate(snakemake.params.sampling),
        Path(snakemake.input.run).parent,
        store,
        Codec.load(snakemake.input.autoencoder).decode,
        metrics,
        memorising,
        snakemake.input.searched,
    ).evaluate(
        Path(snakemake.output.distances),
        Path(snakemake.output.samples),
        Path(snakemake.output.description),
    )
