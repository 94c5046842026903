"""Write the store of a pixel dataset's training images, or of those held out."""

from pathlib import Path

from dansm.config import parse_config
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.workflow.data_lookups import DataLookups
from dansm.workflow.jobs import job

with job(snakemake):
    # Not parameters: other words for the licence, or a folder that was moved, build nothing again.
    config, name = parse_config(snakemake.config), snakemake.wildcards.dataset
    look = DataLookups(config)
    training = snakemake.input.get("training")
    part = "training" if training is None else "held_out"
    own = look.own_images(name, part)
    build_pixel_store(
        look.source(name, part),
        tuple(snakemake.params.settings["shape"]),
        config.dataset(name).licence,
        Path(snakemake.output[0]),
        workers=snakemake.threads,
        least=config.least_images(name),
        held_out=config.dataset(name).held_out,
        training=None if training is None else open_store(training),
    )
    if own is not None:
        own.note()
