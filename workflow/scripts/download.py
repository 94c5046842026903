"""Download a published file, unless it or what it unpacks to is there, and record what is there."""

from pathlib import Path

from dansm.data.download import provide
from dansm.io.files import write_json
from dansm.workflow.jobs import job

with job(snakemake):
    write_json(Path(snakemake.output[0]), provide(**snakemake.params.file))
