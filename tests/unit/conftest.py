"""Shared by all unit tests: one torch thread, no hub access, a maker of small stores."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch

from dansm.data.store import open_store, write_store

torch.set_num_threads(1)


@pytest.fixture
def make_store(tmp_path):
    """Write and open a store of the given array."""

    def make(array, value_range=None, labels=None, name="store"):
        write_store(
            tmp_path / name,
            [array],
            count=len(array),
            shape=array.shape[1:],
            dtype=str(array.dtype),
            value_range=value_range,
            source="a test",
            licence="none",
            labels=labels,
        )
        return open_store(tmp_path / name)

    return make


@pytest.fixture
def colour_images():
    return np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
