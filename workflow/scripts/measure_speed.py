"""Images and time until a run is as good as its baseline at the end."""

from pathlib import Path

from dansm.analysis.speed import speed_table
from dansm.io.tables import COMPARISON_COLUMNS, SPEED_COLUMNS, read_table, write_table
from dansm.workflow.jobs import job

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    write_table(Path(snakemake.output[0]), speed_table(distances), SPEED_COLUMNS)
