"""Compare the images that models trained apart make from the same noises."""

from pathlib import Path

from dansm.analysis.reproducibility import RunImages, measure_reproducibility
from dansm.workflow.jobs import job

with job(snakemake):
    measure_reproducibility(
        [RunImages(**run) for run in snakemake.params.runs],
        snakemake.wildcards.dataset,
        Path(snakemake.output[0]),
    )
