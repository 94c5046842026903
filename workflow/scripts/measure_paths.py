"""Measure the paths of random, matched and preferable noises, and which of them are nearest."""

from pathlib import Path

from dansm.pairs.paths import measure_paths, read_pairs
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        measure_paths,
        read_pairs(Path(snakemake.input.pairs)),
        **snakemake.params.settings,
        dataset=snakemake.wildcards.dataset,
        path=snakemake.output[0],
    )
