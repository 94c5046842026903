"""Images and time until a run is as good as its baseline at the end."""

from pathlib import Path

from dansm.analysis.speed import write_speed_table
from dansm.io.tables import COMPARISON_COLUMNS, read_table
from dansm.workflow.jobs import job

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    write_speed_table(distances, Path(snakemake.output[0]))
