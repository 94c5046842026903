"""Join the distances of compared runs with the time that each took, and those of real images."""

from dansm.analysis.distances import collect_distances
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        collect_distances,
        snakemake.params.folders,
        list(snakemake.input.real),
        snakemake.output[0],
        tables=snakemake.params.tables,
        potentials=snakemake.params.potentials,
        **snakemake.params.conditions,
    )
