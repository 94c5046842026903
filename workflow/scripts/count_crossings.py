"""Count the crossings of noise-sample pairs in the planes of several t-SNEs."""

from pathlib import Path

from dansm.evaluation.crossings import count_crossings
from dansm.evaluation.pairs import read_pairs
from dansm.jobs import job

with job(snakemake):
    count_crossings(
        read_pairs(Path(snakemake.input.pairs)),
        **snakemake.params.settings,
        dataset=snakemake.wildcards.dataset,
        path=Path(snakemake.output.crossings),
        embedding=Path(snakemake.output.embedding),
    )
