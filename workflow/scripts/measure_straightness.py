"""Train small systems in two dimensions, and measure how straight their trajectories are."""

from dansm.pairs.straightness import measure_straightness
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        measure_straightness,
        snakemake.output.table,
        snakemake.output.trajectories,
        **snakemake.params.settings,
    )
