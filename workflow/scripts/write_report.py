"""Write the report of tables and figures."""

from pathlib import Path

from dansm.publish.report import write_report
from dansm.workflow.jobs import job

with job(snakemake):
    write_report(
        [Path(file) for file in snakemake.input],
        Path(snakemake.output[0]).parent,
        snakemake.params.config,
        Path(snakemake.output[0]),
    )
