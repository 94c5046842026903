"""Draw the samples whose noises are compared: a model's, or the dataset's without one."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.pairs.draws import TrainedRun, draw_pairs
from dansm.workflow.jobs import job

with job(snakemake):
    runs = [TrainedRun.of(run) for run in snakemake.params.runs]
    draw_pairs(
        Path(snakemake.output[0]),
        run=runs[0] if runs else None,
        store=None if runs else open_store(snakemake.input.store),
        **snakemake.params.settings,
    )
