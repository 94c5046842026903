"""Take a file out of the archive of published results."""

from dansm.publish.archive import take
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(take, snakemake.wildcards.file, snakemake.output[0])
