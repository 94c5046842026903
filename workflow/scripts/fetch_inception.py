"""Copy Inception's weights into the results, from a folder, a cache or a download."""

from pathlib import Path

from dansm.metrics.extractors import fetch_inception
from dansm.workflow.jobs import job

with job(snakemake):
    fetch_inception(**snakemake.params.settings, path=Path(snakemake.output[0]))
