"""Fit the potentials of the coupling semidiscrete to a dataset."""

from pathlib import Path

from dansm.data.store import open_store
from dansm.training.inputs import fit_dataset_potentials
from dansm.workflow.jobs import job

with job(snakemake):
    fit_dataset_potentials(
        open_store(snakemake.input.store),
        Path(snakemake.output[0]),
        **snakemake.params.settings,
    )
