"""Images and time until a run is as good as the vanilla run at its end."""

from pathlib import Path

from dansm.evaluation.ablation import read_ablation
from dansm.evaluation.speed import write_speed_table
from dansm.jobs import job

with job(snakemake):
    write_speed_table(read_ablation(Path(snakemake.input[0])), Path(snakemake.output[0]))
