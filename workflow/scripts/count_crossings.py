"""Count the crossings of noise-sample pairs in the planes of several t-SNEs."""

from pathlib import Path

from dansm.pairs.crossings import count_crossings
from dansm.pairs.paths import read_pairs
from dansm.workflow.jobs import job

with job(snakemake):
    count_crossings(
        read_pairs(Path(snakemake.input.pairs)),
        **snakemake.params.settings,
        dataset=snakemake.wildcards.dataset,
        path=Path(snakemake.output.crossings),
        embedding=Path(snakemake.output.embedding),
    )
