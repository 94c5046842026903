"""Images and time until a run is as good as the vanilla run at its end."""

from pathlib import Path

from dansm.analysis.ablation import read_ablation
from dansm.analysis.speed import write_speed_table
from dansm.workflow.jobs import job

with job(snakemake):
    write_speed_table(read_ablation(Path(snakemake.input[0])), Path(snakemake.output[0]))
