"""Measure what each coupling does to the noise."""

from pathlib import Path

from dansm.analysis.marginals import MeasuredCoupling, measure_coupling_marginals
from dansm.couplings.registry import Pick
from dansm.data.store import open_store
from dansm.workflow.jobs import job

with job(snakemake):
    measure_coupling_marginals(
        open_store(snakemake.input.store),
        [
            MeasuredCoupling(Pick(**one["coupling"]), one["potentials"] and Path(one["potentials"]))
            for one in snakemake.params.couplings
        ],
        **snakemake.params.settings,
        path=Path(snakemake.output[0]),
    )
