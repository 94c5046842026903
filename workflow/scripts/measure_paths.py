"""Measure the paths of random, matched and preferable noises, and which of them are nearest."""

from pathlib import Path

from dansm.pairs.paths import measure_paths, read_pairs
from dansm.workflow.jobs import job

with job(snakemake):
    measure_paths(
        read_pairs(Path(snakemake.input.pairs)),
        snakemake.params.batch_sizes,
        snakemake.wildcards.dataset,
        Path(snakemake.output[0]),
    )
