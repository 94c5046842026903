"""Judge claims by what was measured."""

from pathlib import Path

from dansm.analysis.claims import measure_claims
from dansm.config import Claim
from dansm.workflow.jobs import job

with job(snakemake):
    measure_claims(
        [Claim.model_validate(claim) for claim in snakemake.params.claims],
        {kind: [Path(file) for file in files] for kind, files in snakemake.input.items()},
        dataset=snakemake.params.dataset,
        extractor=snakemake.params.extractor,
        path=Path(snakemake.output[0]),
    )
