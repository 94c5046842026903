"""Encode a pixel dataset into a store of latents."""

from functools import partial
from pathlib import Path

from dansm.data.latents import Encoding, write_latents
from dansm.models.autoencoders import Codec
from dansm.workflow.jobs import job

# With several GPUs, the processes that share the work import this file.
if __name__ == "__main__":
    with job(snakemake, keeps=True) as made:
        if not made:
            settings = snakemake.params.settings
            write_latents(
                Encoding(
                    store=Path(snakemake.input.store),
                    load=partial(Codec.load, snakemake.input.autoencoder),
                    **settings | {"shape": tuple(settings["shape"])},
                    work=Path(snakemake.params.work),
                ),
                Path(snakemake.output.store),
                Path(snakemake.output.decoding),
                # No parameter: another number of GPUs does not make other latents.
                processes=snakemake.resources.gpu or 1,
            )
