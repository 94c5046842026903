"""Join the distances of runs with the time that each took."""

from pathlib import Path

from dansm.analysis.times import collect_times
from dansm.workflow.jobs import job

with job(snakemake):
    collect_times(
        [Path(folder) for folder in snakemake.params.folders],
        snakemake.params.potentials,
        Path(snakemake.output[0]),
    )
