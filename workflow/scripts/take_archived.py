"""Take a file out of the archive of published results."""

from pathlib import Path

from dansm.gallery import take
from dansm.jobs import job

with job(snakemake):
    take(snakemake.wildcards.file, Path(snakemake.output[0]))
