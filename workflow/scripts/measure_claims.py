"""Judge claims by what was measured."""

from dansm.analysis.claims import measure_claims
from dansm.workflow.jobs import call, job

with job(snakemake):
    call(
        measure_claims,
        snakemake.params.claims,
        {kind: [table] for kind, table in snakemake.input.items()},
        **snakemake.params.settings,
        path=snakemake.output[0],
    )
