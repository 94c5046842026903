"""Join the distances of compared runs with the time that each took, and those of real images."""

from pathlib import Path

from dansm.analysis.distances import collect_distances
from dansm.workflow.jobs import job

with job(snakemake):
    collect_distances(
        [Path(folder) for folder in snakemake.params.folders],
        [Path(table) for table in snakemake.input.real],
        Path(snakemake.output[0]),
        potentials={slug: Path(path) for slug, path in snakemake.params.potentials.items()},
        **snakemake.params.conditions,
    )
