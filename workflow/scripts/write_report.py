"""Write the report of tables and figures."""

from pathlib import Path

from dansm.jobs import job
from dansm.report import write_report

with job(snakemake):
    write_report(
        [Path(file) for file in snakemake.input.files],
        Path(snakemake.output[0]).parent,
        snakemake.params.config,
        {rule: Path(caption) for rule, caption in snakemake.params.captions.items()},
        Path(snakemake.input.introduction),
        Path(snakemake.output[0]),
    )
