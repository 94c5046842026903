"""Pairs of a noise and the sample that a teacher makes of it."""

from pathlib import Path

from dansm.config import RunSettings
from dansm.couplings.registry import Pick
from dansm.pairs.teacher import make_pairs
from dansm.workflow.jobs import job

with job(snakemake):
    settings = dict(snakemake.params.settings)
    make_pairs(
        RunSettings.model_validate(snakemake.params.run),
        Path(snakemake.input.model).parent,
        Pick(**settings.pop("sampler")),
        **settings,
        work=Path(snakemake.params.work),
        path=Path(snakemake.output[0]),
    )
