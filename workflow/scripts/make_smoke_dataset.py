"""Write a stand-in for a published dataset: made-up images in the published format."""

from dansm.config import parse_config
from dansm.data.standins import write_standin
from dansm.workflow.data_lookups import DataLookups
from dansm.workflow.jobs import job

with job(snakemake):
    shape, images = tuple(snakemake.params.settings["shape"]), snakemake.params.images
    look = DataLookups(parse_config(snakemake.config))
    for source in look.standin_sources(snakemake.wildcards):
        write_standin(source, shape, images)
