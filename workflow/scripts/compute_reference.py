"""Features of a part of a dataset's real images, and the distances of other real images."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.metrics.extractors import make_extractor
from dansm.metrics.reference import compute_reference
from dansm.workflow.jobs import job

with job(snakemake):
    store = open_store(snakemake.input.store)
    extractor = make_extractor(
        snakemake.wildcards.extractor,
        store,
        classifier_path=snakemake.input.get("classifier"),
        **snakemake.params.extractor,
    )
    compute_reference(
        store,
        extractor,
        dataset=snakemake.wildcards.dataset,
        part=snakemake.wildcards.part,
        features=Path(snakemake.output.features),
        floor=Path(snakemake.output.floor),
        other=open_store(snakemake.input.other) if snakemake.input.other else None,
        n_samples=snakemake.params.n_samples,
    )
