"""Write the store of a pixel dataset."""

from pathlib import Path

from pydantic import TypeAdapter

from dansm.config import Source
from dansm.data.sources import build_pixel_store
from dansm.workflow.jobs import job

with job(snakemake):
    build_pixel_store(
        TypeAdapter(Source).validate_python(snakemake.params.source),
        tuple(snakemake.params.shape),
        snakemake.params.licence,
        Path(snakemake.output[0]),
        workers=snakemake.threads,
    )
