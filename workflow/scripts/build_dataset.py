"""Write the store of a pixel dataset."""

from pathlib import Path

from dansm.config import parse_config
from dansm.data.sources import build_pixel_store
from dansm.workflow.data_lookups import DataLookups
from dansm.workflow.jobs import job

with job(snakemake):
    # Not parameters: other words for the licence, or a folder that was moved, build nothing again.
    config, name = parse_config(snakemake.config), snakemake.wildcards.dataset
    look = DataLookups(config)
    own = look.own_images(name)
    build_pixel_store(
        look.source(name),
        tuple(snakemake.params.settings["shape"]),
        config.dataset(name).licence,
        Path(snakemake.output[0]),
        workers=snakemake.threads,
        least=config.least_images(name),
    )
    if own is not None:
        own.note()
