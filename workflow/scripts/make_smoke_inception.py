"""Write a stand-in for Inception, of random weights."""

from dansm.metrics.standin import write_random_inception
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(write_random_inception, snakemake.output[0])
