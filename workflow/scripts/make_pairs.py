"""Pairs of a noise and the sample that a teacher makes of it."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.pairs.teacher import make_pairs
from dansm.workflow.jobs import call, job

with job(snakemake, keeps=True) as made:
    if not made:
        call(
            make_pairs,
            snakemake.params.run,
            Path(snakemake.input.model).parent,
            **snakemake.params.settings,
            work=snakemake.params.work,
            path=snakemake.output[0],
            store=open_store(snakemake.input.store) if snakemake.input.store else None,
        )
