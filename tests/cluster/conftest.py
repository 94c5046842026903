"""A project on a real Slurm; where there is none, these tests say so and are skipped."""

import os
import tempfile
from pathlib import Path

import pytest

from . import slurm


@pytest.fixture(scope="session")
def cluster():
    """The running cluster."""
    reason = slurm.missing()
    if reason is not None:
        pytest.skip(reason)
    # munge wants every folder above its socket open to all, which pytest's are not.
    with tempfile.TemporaryDirectory(prefix="dansm-slurm-") as folder:
        os.chmod(folder, 0o755)
        with slurm.started(Path(folder)) as started:
            yield started
