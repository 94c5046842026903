"""Copy Inception's weights into the results, from a folder, a cache or a download."""

from pathlib import Path

from dansm.evaluation.features import fetch_inception
from dansm.jobs import job

with job(snakemake):
    fetch_inception(**snakemake.params.settings, path=Path(snakemake.output[0]))
