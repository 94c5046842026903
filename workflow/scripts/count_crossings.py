"""Count the crossings of noise-sample pairs in the planes of several t-SNEs."""

from pathlib import Path

from dansm.pairs.crossings import count_crossings
from dansm.pairs.paths import read_pairs
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        count_crossings,
        read_pairs(Path(snakemake.input.pairs)),
        **snakemake.params.settings,
        dataset=snakemake.wildcards.dataset,
        path=snakemake.output.crossings,
        embedding=snakemake.output.embedding,
    )
