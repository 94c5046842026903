"""Keep what is FID of a table of distances."""

from pathlib import Path

from dansm.analysis.distances import write_fid
from dansm.io.tables import COMPARISON_COLUMNS, read_table
from dansm.workflow.jobs import job

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    write_fid(distances, Path(snakemake.output[0]))
