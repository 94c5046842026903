"""Write a stand-in for a published autoencoder, of random weights."""

from dansm.models.autoencoders import write_random_autoencoder
from dansm.workflow.jobs import call, job

with job(snakemake):
    shapes = next(iter(snakemake.params.shapes.values()))
    call(write_random_autoencoder, *shapes, snakemake.output[0])
