"""Pairs of a noise and the latents that a published pipeline makes of it."""

from dansm.config import parse_config
from dansm.pairs.pipeline import make_pipeline_pairs
from dansm.workflow.jobs import call, job

with job(snakemake):
    name = snakemake.wildcards.dataset
    call(
        make_pipeline_pairs,
        name,
        snakemake.input.pipeline,
        snakemake.params.prompts,
        # No parameter: other words for it make nothing again.
        parse_config(snakemake.config).noise_sample_pairs[name].pipeline.licence,
        shape=snakemake.params.shape,
        **snakemake.params.settings,
        work=snakemake.params.work,
        path=snakemake.output[0],
    )
