"""Copy a published text-to-image pipeline into the results, after checking that it can be used."""

from dansm.models.pipelines import fetch_pipeline
from dansm.workflow.jobs import call, job

with job(snakemake):
    params = snakemake.params
    call(fetch_pipeline, params.settings, params.shape, snakemake.output[0])
