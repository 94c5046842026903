"""Copy a published autoencoder into the results, after checking that it can be used."""

from dansm.models.autoencoders import fetch_autoencoder
from dansm.workflow.jobs import call, job

with job(snakemake):
    params = snakemake.params
    call(fetch_autoencoder, params.settings, params.shapes, snakemake.output[0])
