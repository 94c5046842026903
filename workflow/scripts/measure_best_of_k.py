"""Measure how near the best of k Gaussian noises comes, by dimension."""

from dansm.analysis.best_of_k import measure_best_of_k
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(measure_best_of_k, snakemake.params.settings, snakemake.output[0])
