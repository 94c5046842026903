"""Final distances of compared runs, each with its interval and its lead."""

from pathlib import Path

from dansm.analysis.distances import summarise
from dansm.io.tables import COMPARISON_COLUMNS, SUMMARY_COLUMNS, read_table, write_table
from dansm.workflow.jobs import job

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    write_table(Path(snakemake.output[0]), summarise(distances), SUMMARY_COLUMNS)
