"""Train the classifier of digits whose activations serve as a dataset's features."""

from pathlib import Path

from dansm.config import Classifier
from dansm.data.store import open_store
from dansm.metrics.classifier import train_classifier
from dansm.workflow.jobs import job

with job(snakemake):
    train_classifier(
        Classifier.model_validate(snakemake.params.settings),
        open_store(snakemake.input.store),
        Path(snakemake.output[0]),
    )
