"""Encode a pixel dataset into a store of latents."""

from pathlib import Path

from dansm.data.latents import write_latents
from dansm.data.store import open_store
from dansm.jobs import job
from dansm.models.autoencoders import Codec

with job(snakemake):
    codec = Codec.load(snakemake.params.autoencoder, snakemake.input.autoencoder)
    write_latents(
        open_store(snakemake.input.store),
        codec.encode,
        tuple(snakemake.params.shape),
        Path(snakemake.output[0]),
        source=f"{snakemake.input.store} encoded by {codec.name}",
        batch_size=32,
    )
