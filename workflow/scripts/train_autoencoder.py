"""Train a small autoencoder on a pixel dataset."""

from dansm.data.store import open_store
from dansm.models.autoencoders import train_autoencoder
from dansm.workflow.jobs import call, job

with job(snakemake):
    settings, store = snakemake.params.settings, open_store(snakemake.input.store)
    call(train_autoencoder, settings, store, snakemake.output[0])
