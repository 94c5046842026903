"""Export the results and what made them as a Workflow Run RO-Crate."""

from pathlib import Path

from dansm.publish.crate import write_crate
from dansm.workflow.jobs import job

with job(snakemake):
    write_crate(
        [Path(file) for file in snakemake.input],
        Path(snakemake.output[0]).parent,
        snakemake.params.config,
        Path("workflow"),
        Path(snakemake.output[0]),
    )
