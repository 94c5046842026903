#!/usr/bin/env bash
# Run by Snakemake, in the repository root and inside the new environment. The sum makes a change of
# the lock one of this script, after which Snakemake makes the environment anew.
set -euo pipefail
echo "17352c95934e8080b6194d59f502df3482defe5921c6d835eed49342c915d46e  requirements.lock" | sha256sum --check --quiet
python -m pip install --require-hashes -r requirements.lock
# Snakemake hides PYTHONPATH from conda environments, so the library is installed, too.
python -m pip install --no-deps --no-build-isolation --editable .
