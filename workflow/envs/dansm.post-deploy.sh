#!/usr/bin/env bash
# Run by Snakemake, in the repository root and inside the new environment. The sum makes a change of
# the lock one of this script, after which Snakemake makes the environment anew.
set -euo pipefail
echo "0fd2127799997c634cdf831a3c130366fd6c03d260d16be31da8ed9481190181  requirements.lock" | sha256sum --check --quiet
python -m pip install --require-hashes -r requirements.lock
# Snakemake hides PYTHONPATH from conda environments, so the library is installed, too.
python -m pip install --no-deps --no-build-isolation --editable .
