"""Write the report of tables and figures, or export them as a Workflow Run RO-Crate."""

from pathlib import Path

from dansm.publish.crate import write_crate
from dansm.publish.report import write_report
from dansm.workflow.jobs import job

WRITE = {"write_report": write_report, "write_crate": write_crate}

with job(snakemake):
    path = Path(snakemake.output[0])
    files = [Path(file) for file in snakemake.input]
    WRITE[snakemake.rule](files, path.parent, snakemake.params.config, path)
