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
        name=snakemake.wildcards.run,
        **{
            name: Path(snakemake.input[name])
            for name in ("potentials", "pairs", "start")
            if name in snakemake.input.keys()
        },
        processes=snakemake.params.processes,
        threads=snakemake.threads,
    )
