"""Join the distances of a comparison of couplings with the time that each took."""

from pathlib import Path

from dansm.evaluation.ablation import collect_ablation
from dansm.jobs import job

with job(snakemake):
    collect_ablation(
        [Path(folder) for folder in snakemake.params.folders],
        snakemake.params.potentials,
        Path(snakemake.output[0]),
    )
