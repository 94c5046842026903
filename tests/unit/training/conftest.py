"""Shared by the tests of training."""

import numpy as np
import pytest

from dansm.data.store import finish_store, open_store


@pytest.fixture
def latents(tmp_path):
    """Latents with a posterior, and those of mirrored images."""
    values = np.random.default_rng(1).random((4, 50, 1, 8, 8)).astype(np.float16)
    names = ("array", "deviation", "mirrored", "mirrored_deviation")
    files = {name: [tmp_path / "l" / f"{name}-00000.npy"] for name in names}
    (tmp_path / "l").mkdir()
    for array, (path,) in zip(values, files.values(), strict=True):
        np.save(path, array)
    finish_store(tmp_path / "l", files, value_range=None, source="random", licence="none")
    return open_store(tmp_path / "l")
