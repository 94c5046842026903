"""Judge claims by what was measured."""

from pathlib import Path

from dansm.analysis.claims import measure_claims
from dansm.config import Claim
from dansm.workflow.jobs import job

with job(snakemake):
    measure_claims(
        [Claim.model_validate(claim) for claim in snakemake.params.claims],
        {kind: [Path(table)] for kind, table in snakemake.input.items()},
        **snakemake.params.settings,
        path=Path(snakemake.output[0]),
    )
