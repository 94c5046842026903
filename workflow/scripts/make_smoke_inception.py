"""Write a stand-in for Inception, of random weights."""

from pathlib import Path

from dansm.metrics.standin import write_random_inception
from dansm.workflow.jobs import job

with job(snakemake):
    write_random_inception(Path(snakemake.output[0]))
