"""Draw the samples whose noises are compared: a model's, or the dataset's without one."""

from pathlib import Path

from dansm.config import RunSettings
from dansm.data.store import open_store
from dansm.pairs.draws import TrainedRun, draw_pairs
from dansm.workflow.jobs import job

with job(snakemake):
    settings = snakemake.params.run and RunSettings.model_validate(snakemake.params.run)
    folder = settings and Path(snakemake.input.model).parent
    draw_pairs(
        Path(snakemake.output[0]),
        run=settings and TrainedRun(settings, folder, snakemake.params.batch_size),
        store=open_store(snakemake.input.store) if snakemake.input.store else None,
        **snakemake.params.settings,
    )
