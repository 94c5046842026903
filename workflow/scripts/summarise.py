"""Tell by a comparison's distances how good its runs are at the end, how soon, and by FID."""

from pathlib import Path

from dansm.analysis.distances import write_fid, write_summary
from dansm.analysis.speed import write_speed_table
from dansm.io.tables import COMPARISON_COLUMNS, read_table
from dansm.workflow.jobs import job

WRITE = {"summarise": write_summary, "measure_speed": write_speed_table, "write_fid": write_fid}

with job(snakemake):
    distances = read_table(Path(snakemake.input[0]), COMPARISON_COLUMNS)
    WRITE[snakemake.rule](distances, Path(snakemake.output[0]))
