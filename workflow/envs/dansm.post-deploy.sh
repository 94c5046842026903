#!/usr/bin/env bash
# Run by Snakemake, in the repository root and inside the new environment. The sum makes a change of
# the lock one of this script, after which Snakemake makes the environment anew.
set -euo pipefail
echo "16965ad9a5568a1d71fec0f0d8b22c6862374ce0512e36516b15914fba5c733c  requirements.lock" | sha256sum --check --quiet
python -m pip install --require-hashes -r requirements.lock
# Snakemake hides PYTHONPATH from conda environments, so the library is installed, too.
python -m pip install --no-deps --no-build-isolation --editable .
