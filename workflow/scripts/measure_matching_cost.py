"""Time per sample and peak memory of every way to match."""

from pathlib import Path

from dansm.analysis.matching_cost import measure_matching_cost
from dansm.config import MatchingCost
from dansm.workflow.jobs import job

with job(snakemake):
    measure_matching_cost(
        MatchingCost.model_validate(snakemake.params.settings),
        Path(snakemake.output[0]),
        threads=snakemake.threads,
    )
