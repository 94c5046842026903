"""Compare held-out images with training images and each other, as generated ones are compared."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.metrics.memorising import Memorising, compare_held_out
from dansm.metrics.statistics import ReferenceFeatures
from dansm.workflow.jobs import job

with job(snakemake):
    features, files = {}, iter(snakemake.input.reference)
    for name, training, held_out in zip(snakemake.params.features, files, files, strict=True):
        real = ReferenceFeatures.load(training)
        apart = ReferenceFeatures.load(held_out, real.extractor)
        features[name] = real.features, apart.features
    stores = (open_store(snakemake.input[name]) for name in ("store", "held_out"))
    compare_held_out(
        Memorising(*stores, features),
        dataset=snakemake.wildcards.dataset,
        path=Path(snakemake.output[0]),
    )
