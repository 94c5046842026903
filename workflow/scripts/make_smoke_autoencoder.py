"""Write a stand-in for a published autoencoder, of random weights."""

from pathlib import Path

from dansm.models.autoencoders import write_random_autoencoder
from dansm.workflow.jobs import job

with job(snakemake):
    images, latents = next(iter(snakemake.params.shapes.values()))
    write_random_autoencoder(images, latents, Path(snakemake.output[0]))
