"""Measure what each coupling does to the noise."""

from pathlib import Path

from dansm.analysis.marginals import Method, measure_coupling_marginals
from dansm.data.store import open_store
from dansm.workflow.jobs import job

with job(snakemake):
    measure_coupling_marginals(
        open_store(snakemake.input.store),
        [Method(**method) for method in snakemake.params.methods],
        **snakemake.params.settings,
        path=Path(snakemake.output[0]),
    )
