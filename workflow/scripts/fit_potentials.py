"""Fit the potentials of the coupling semidiscrete to a dataset."""

from pathlib import Path

import numpy as np

from dansm.couplings import fit_potentials
from dansm.data.store import open_store
from dansm.workflow.jobs import job

with job(snakemake):
    store = open_store(snakemake.input.store)
    potentials = fit_potentials(store.batch(np.arange(len(store))), **snakemake.params.settings)
    print(potentials.evenness)
    potentials.save(Path(snakemake.output[0]))
