"""A project on a real Slurm; where there is none, these tests say so and are skipped."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from . import slurm


@pytest.fixture(scope="module")
def cluster():
    """The running cluster."""
    reason = slurm.missing()
    if reason is not None:
        pytest.skip(reason)
    # Whatever ends the tests, the daemons and their jobs end too.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # munge wants every folder above its socket open to all, which pytest's are not.
    with tempfile.TemporaryDirectory(prefix="dansm-slurm-") as folder:
        os.chmod(folder, 0o755)
        with slurm.started(Path(folder)) as started:
            yield started
    signal.signal(signal.SIGTERM, before)
