"""Write a stand-in for a published text-to-image pipeline, of random weights."""

from dansm.models.pipelines import write_random_pipeline
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(write_random_pipeline, snakemake.params.shape, snakemake.output[0])
