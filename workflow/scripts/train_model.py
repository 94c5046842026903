"""Train one run, or continue it."""

from pathlib import Path

from dansm.config import RunSettings
from dansm.data.store import open_store
from dansm.jobs import job
from dansm.training import train

with job(snakemake):
    train(
        RunSettings.model_validate(snakemake.params.settings),
        open_store(snakemake.input.store),
        Path(snakemake.output.run).parent,
        potentials=Path(snakemake.input.potentials) if snakemake.input.potentials else None,
    )
