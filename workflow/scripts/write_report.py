"""Write the report of tables and figures."""

from pathlib import Path

from dansm.publish.report import write_report
from dansm.workflow.jobs import job

with job(snakemake):
    write_report(
        [Path(file) for file in snakemake.input.files],
        Path(snakemake.output[0]).parent,
        snakemake.params.config,
        {rule: Path(caption) for rule, caption in snakemake.params.captions.items()},
        Path(snakemake.input.introduction),
        Path(snakemake.output[0]),
    )
