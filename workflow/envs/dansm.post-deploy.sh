#!/usr/bin/env bash
# Run by Snakemake, in the repository root and inside the new environment. The sum makes a change of
# the lock one of this script, after which Snakemake makes the environment anew.
set -euo pipefail
echo "bb8f59def23c13e6c522a7318058fd6a827a8bdfb3a11132f13e90209bc46743  requirements.lock" | sha256sum --check --quiet
python -m pip install --require-hashes -r requirements.lock
# Snakemake hides PYTHONPATH from conda environments, so the library is installed, too.
python -m pip install --no-deps --no-build-isolation --editable .
