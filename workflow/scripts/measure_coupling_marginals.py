"""Measure what each coupling does to the noise."""

from dansm.analysis.marginals import measure_coupling_marginals
from dansm.data.store import open_store
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        measure_coupling_marginals,
        open_store(snakemake.input.store),
        snakemake.params.couplings,
        **snakemake.params.settings,
        path=snakemake.output[0],
    )
