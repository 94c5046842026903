"""Time of training steps and of matching, in turn."""

import torch

from dansm.analysis.matching_share import measure_matching_share
from dansm.data.store import open_store
from dansm.workflow.jobs import call, job

with job(snakemake):
    params, store = snakemake.params, open_store(snakemake.input.store)
    torch.set_num_threads(params.threads)
    call(measure_matching_share, params.settings, params.run, store, snakemake.output[0])
