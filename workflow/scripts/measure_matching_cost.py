"""Time per sample and peak memory of every way to match."""

from dansm.analysis.matching_cost import measure_matching_cost
from dansm.workflow.jobs import call, job

with job(snakemake):
    settings, path = snakemake.params.settings, snakemake.output[0]
    call(measure_matching_cost, settings, path, threads=snakemake.threads)
