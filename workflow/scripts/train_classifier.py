"""Train the classifier of digits whose activations serve as a dataset's features."""

from dansm.data.store import open_store
from dansm.metrics.classifier import train_classifier
from dansm.workflow.jobs import call, job

with job(snakemake):
    stores = [open_store(snakemake.input[name]) for name in ("store", "held_out")]
    call(train_classifier, snakemake.params.settings, *stores, snakemake.output[0])
