"""Distance of an autoencoder's reconstructions to the real images."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.metrics.extractors import make_extractor
from dansm.metrics.reference import measure_reconstruction
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.autoencoders import Codec
from dansm.workflow.jobs import job

with job(snakemake):
    store = open_store(snakemake.input.store)
    extractor = make_extractor(
        snakemake.wildcards.extractor,
        store,
        classifier_path=snakemake.input.get("classifier"),
        **snakemake.params.extractor,
    )
    measure_reconstruction(
        store,
        open_store(snakemake.input.latents),
        Codec.load(snakemake.input.autoencoder).decode,
        extractor,
        ReferenceFeatures.load(snakemake.input.reference, extractor.identity),
        dataset=snakemake.wildcards.dataset,
        path=Path(snakemake.output[0]),
    )
