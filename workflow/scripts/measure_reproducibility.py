"""Compare the images that models trained apart make from the same noises."""

from pathlib import Path

from dansm.analysis.reproducibility import RunImages, measure_reproducibility
from dansm.workflow.jobs import job

with job(snakemake):
    measure_reproducibility(
        [RunImages(**model) for model in snakemake.params.models],
        snakemake.params.dataset,
        Path(snakemake.output[0]),
    )
