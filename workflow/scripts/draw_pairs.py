"""Draw samples with random and matched noises, for the t-SNE figure."""

from pathlib import Path

from dansm.config import NoiseSamplePairs
from dansm.data.store import open_store
from dansm.evaluation.pairs import draw_pairs
from dansm.jobs import job

with job(snakemake):
    draw_pairs(
        NoiseSamplePairs.model_validate(snakemake.params.settings),
        open_store(snakemake.input.store),
        Path(snakemake.output[0]),
    )
