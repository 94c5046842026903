"""Train one run, or continue it."""

from pathlib import Path

from dansm.config import RunSettings
from dansm.training.launching import launch_training
from dansm.workflow.jobs import job

with job(snakemake):
    launch_training(
        RunSettings.model_validate(snakemake.params.settings),
        Path(snakemake.input.store),
        Path(snakemake.output.run).parent,
        # The store of a teacher's pairs, potentials, the model to start from: what the run needs.
        **{name: Path(path) for name, path in snakemake.input.items() if name != "store"},
        processes=snakemake.params.processes,
        threads=snakemake.threads,
    )
