"""Find the Inception weights, or download them, where there is internet."""

from pathlib import Path

from dansm.evaluation.features import find_inception
from dansm.files import write_json
from dansm.jobs import job

with job(snakemake):
    settings = snakemake.params.settings
    found = find_inception(settings["inception_weights"], settings["inception_sha256"])
    record = {"file": str(found), "sha256": settings["inception_sha256"]}
    write_json(Path(snakemake.output[0]), record)
