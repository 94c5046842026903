"""Write a stand-in for a published autoencoder, of random weights."""

from pathlib import Path

from dansm.jobs import job
from dansm.models.autoencoders import write_random_autoencoder

with job(snakemake):
    write_random_autoencoder(*snakemake.params.shapes, Path(snakemake.output[0]))
