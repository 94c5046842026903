"""Measure how near the best of k Gaussian noises comes, by dimension."""

from pathlib import Path

from dansm.analysis.best_of_k import measure_best_of_k
from dansm.config import BestOfK
from dansm.workflow.jobs import job

with job(snakemake):
    measure_best_of_k(BestOfK.model_validate(snakemake.params.settings), Path(snakemake.output[0]))
