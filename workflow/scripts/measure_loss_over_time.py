"""Measure the loss of trained models over time, on each kind of noise."""

from dansm.pairs.loss_over_time import measure_loss_over_time
from dansm.workflow.jobs import call, job

with job(snakemake):
    params = snakemake.params
    call(measure_loss_over_time, params.runs, snakemake.output[0], **params.settings)
