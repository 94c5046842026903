"""Measure the loss of trained models over time, on each kind of noise."""

from pathlib import Path

from dansm.pairs.draws import TrainedRun
from dansm.pairs.loss_over_time import measure_loss_over_time
from dansm.workflow.jobs import job

with job(snakemake):
    runs = [TrainedRun.of(run) for run in snakemake.params.runs]
    measure_loss_over_time(runs, Path(snakemake.output[0]), **snakemake.params.settings)
