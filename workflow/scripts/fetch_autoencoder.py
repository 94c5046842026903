"""Copy a published autoencoder into the results, after checking that it can be used."""

from pathlib import Path

from dansm.config import PretrainedAutoencoder
from dansm.models.autoencoders import fetch_autoencoder
from dansm.workflow.jobs import job

with job(snakemake):
    fetch_autoencoder(
        PretrainedAutoencoder.model_validate(snakemake.params.settings),
        snakemake.params.shapes,
        Path(snakemake.output[0]),
    )
