"""Time of training steps and of matching, in turn."""

from pathlib import Path

import torch

from dansm.analysis.matching_share import measure_matching_share
from dansm.config import MatchingShare, RunSettings
from dansm.data.store import open_store
from dansm.workflow.jobs import job

with job(snakemake):
    torch.set_num_threads(snakemake.params.threads)
    measure_matching_share(
        MatchingShare.model_validate(snakemake.params.settings),
        RunSettings.model_validate(snakemake.params.run),
        open_store(snakemake.input.store),
        Path(snakemake.output[0]),
    )
