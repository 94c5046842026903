"""Train the classifier of digits whose activations serve as a dataset's features."""

from dansm.data.store import open_store
from dansm.metrics.classifier import train_classifier
from dansm.workflow.jobs import call, job

with job(snakemake):
    settings, store = snakemake.params.settings, open_store(snakemake.input.store)
    call(train_classifier, settings, store, snakemake.output[0])
