"""Take a file out of the archive of published results."""

from pathlib import Path

from dansm.publish.archive import take
from dansm.workflow.jobs import job

with job(snakemake):
    take(snakemake.wildcards.file, Path(snakemake.output[0]))
