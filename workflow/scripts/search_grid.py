"""Search a time grid for a finished run."""

from pathlib import Path

from dansm.config import RunSettings
from dansm.data.store import open_store
from dansm.metrics.extractors import make_extractor
from dansm.metrics.grid_search import search_grid
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import Codec
from dansm.workflow.jobs import job

with job(snakemake):
    store, metric = open_store(snakemake.input.store), None
    for name, reference in zip(snakemake.params.features, snakemake.input.reference, strict=True):
        extractor = make_extractor(
            name,
            store,
            classifier_path=snakemake.input.get("classifier"),
            **snakemake.params.extractor,
        )
        metric = (extractor, ReferenceFeatures.load(reference, extractor.identity))
    search_grid(
        RunSettings.model_validate(snakemake.params.settings),
        Path(snakemake.input.model).parent,
        Path(snakemake.output[0]),
        grid=snakemake.wildcards.grid,
        steps=int(snakemake.wildcards.steps),
        search=snakemake.params.search,
        store=store,
        decode=Codec.load(snakemake.input.autoencoder).decode,
        metric=metric,
    )
