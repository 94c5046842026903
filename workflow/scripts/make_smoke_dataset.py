"""Write a stand-in for a published dataset: made-up images in the published format."""

from dansm.config import parse_config
from dansm.data.standins import write_standin
from dansm.workflow.data_lookups import DataLookups
from dansm.workflow.jobs import job

with job(snakemake):
    write_standin(
        DataLookups(parse_config(snakemake.config)).source(snakemake.wildcards.dataset),
        tuple(snakemake.params.settings["shape"]),
        snakemake.params.images,
    )
