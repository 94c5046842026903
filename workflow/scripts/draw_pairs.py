"""Draw the samples whose noises are compared: of models, of a pipeline, or the dataset's."""

from pathlib import Path

from dansm.data.pair_store import open_pairs
from dansm.data.store import open_store
from dansm.pairs.draws import draw_pairs
from dansm.workflow.jobs import call, job

with job(snakemake):
    runs, inputs = snakemake.params.runs, dict(snakemake.input.items())
    call(
        draw_pairs,
        snakemake.output[0],
        runs=runs,
        pairs=open_pairs(Path(inputs["pairs"])) if "pairs" in inputs else None,
        store=open_store(inputs["store"]) if "store" in inputs else None,
        **snakemake.params.settings,
    )
