"""Draw the samples whose noises are compared: of models, or the dataset's without one."""

from dansm.data.store import open_store
from dansm.pairs.draws import draw_pairs
from dansm.workflow.jobs import call, job

with job(snakemake):
    runs = snakemake.params.runs
    call(
        draw_pairs,
        snakemake.output[0],
        runs=runs,
        store=None if runs else open_store(snakemake.input.store),
        **snakemake.params.settings,
    )
