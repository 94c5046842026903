"""Write a stand-in for a published dataset: made-up images in the published format."""

from pydantic import TypeAdapter

from dansm.config import Source
from dansm.data.standins import write_standin
from dansm.workflow.jobs import job

with job(snakemake):
    write_standin(
        TypeAdapter(Source).validate_python(snakemake.params.source),
        tuple(snakemake.params.shape),
        snakemake.params.images,
    )
