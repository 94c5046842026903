"""Compare the images that models trained apart make from the same noises."""

from dansm.analysis.reproducibility import measure_reproducibility
from dansm.workflow.jobs import call, job

with job(snakemake):
    params = snakemake.params
    call(measure_reproducibility, params.models, params.dataset, snakemake.output[0])
