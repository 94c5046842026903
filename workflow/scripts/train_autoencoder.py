"""Train a small autoencoder on a pixel dataset."""

from pathlib import Path

from dansm.config import TrainedAutoencoder
from dansm.data.store import open_store
from dansm.models.autoencoders import train_autoencoder
from dansm.workflow.jobs import job

with job(snakemake):
    train_autoencoder(
        TrainedAutoencoder.model_validate(snakemake.params.settings),
        open_store(snakemake.input.store),
        Path(snakemake.output[0]),
    )
