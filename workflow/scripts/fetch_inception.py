"""Copy Inception's weights into the results, from a folder, a cache or a download."""

from pathlib import Path

from dansm.config import parse_config
from dansm.metrics.extractors import fetch_inception
from dansm.workflow.jobs import job

with job(snakemake):
    # Not a parameter: a folder that was moved does not make other weights.
    folder = parse_config(snakemake.config).inception_weights
    fetch_inception(folder, snakemake.params.expected, Path(snakemake.output[0]))
