#!/usr/bin/env bash
# Run by Snakemake, in the repository root and inside the new environment. The sum makes a change of
# the lock one of this script, after which Snakemake makes the environment anew.
set -euo pipefail
echo "aeba8a7c821dce204401a2d2dd454d6c1d1f5e9e875a8ef07b8b88aaeca404cc  requirements.lock" | sha256sum --check --quiet
python -m pip install --require-hashes -r requirements.lock
# Snakemake hides PYTHONPATH from conda environments, so the library is installed, too.
python -m pip install --no-deps --no-build-isolation --editable .
