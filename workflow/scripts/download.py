"""Download a published file, unless it or what it unpacks to is there, and record what is there."""

from pathlib import Path

from dansm.config import parse_config
from dansm.data.download import provide
from dansm.io.files import write_json
from dansm.workflow.data_lookups import DataLookups
from dansm.workflow.jobs import job

with job(snakemake):
    # Not a parameter: another folder or mirror does not make another file.
    files = DataLookups(parse_config(snakemake.config)).published(snakemake.wildcards.dataset)
    found = provide(**files[snakemake.wildcards.file]._asdict())
    write_json(Path(snakemake.output[0]), found)
