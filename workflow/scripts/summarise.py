"""Make a table of a comparison's table of distances."""

from pathlib import Path

from dansm.analysis.distances import fid_rows, summarise
from dansm.analysis.memorising import memorising_table
from dansm.analysis.saving import speed_table
from dansm.io.tables import (
    COMPARISON_COLUMNS,
    SPEED_COLUMNS,
    SUMMARY_COLUMNS,
    read_table,
    write_table,
)
from dansm.workflow.jobs import job

TABLES = {
    "summarise": (summarise, SUMMARY_COLUMNS),
    "measure_speed": (speed_table, SPEED_COLUMNS),
    "write_fid": (fid_rows, COMPARISON_COLUMNS),
    "write_memorising": (memorising_table, SUMMARY_COLUMNS),
}

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    make, columns = TABLES[snakemake.rule]
    write_table(Path(snakemake.output[0]), make(distances), columns)
