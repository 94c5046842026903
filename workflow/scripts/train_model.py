"""Train one run, or continue it."""

from pathlib import Path

from dansm.config import parse_config
from dansm.training.launching import launch_training
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        launch_training,
        snakemake.params.settings,
        folder=Path(snakemake.output.run).parent,
        # The store, a teacher's pairs, potentials, the model to start from: what the run needs.
        **dict(snakemake.input.items()),
        processes=snakemake.params.processes,
        threads=snakemake.threads,
        # Not a parameter: who is told of the progress does not make another run.
        trackers=parse_config(snakemake.config).trackers,
    )
