"""Join the tables of distances of all runs of a dataset."""

from pathlib import Path

from dansm.io.tables import collect_tables
from dansm.workflow.jobs import job

with job(snakemake):
    collect_tables(
        [Path(path) for path in snakemake.input],
        snakemake.wildcards.dataset,
        Path(snakemake.output[0]),
    )
