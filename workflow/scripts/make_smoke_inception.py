"""Write a stand-in for Inception, of random weights."""

from pathlib import Path

from dansm.evaluation.standin import write_random_inception
from dansm.jobs import job

with job(snakemake):
    write_random_inception(Path(snakemake.output[0]))
