"""Time per sample and peak memory of every way to match."""

from pathlib import Path

from dansm.config import MatchingCost
from dansm.evaluation.matching_cost import measure_matching_cost
from dansm.jobs import job

with job(snakemake):
    measure_matching_cost(
        MatchingCost.model_validate(snakemake.params.settings),
        Path(snakemake.output[0]),
        threads=snakemake.threads,
    )
