import numpy as np
import pytest
from sklearn.datasets import load_digits

from dansm.config import DigitsSource
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError


def test_digits_are_scikit_learns(tmp_path):
    build_pixel_store(DigitsSource(kind="sklearn_digits"), (1, 8, 8), "CC BY", tmp_path / "d")
    store, digits = open_store(tmp_path / "d"), load_digits()
    np.testing.assert_array_equal(store.array[:, 0], digits.images)
    np.testing.assert_array_equal(store.labels, digits.target)
    assert store.array.shape == (1797, 1, 8, 8) and store.array.dtype == np.uint8
    assert store.value_range == (0, 16) and store.meta["licence"] == "CC BY"
    assert not (tmp_path / "d" / "classes.json").exists()


def test_a_wrong_shape_is_named(tmp_path):
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\), found .*\(1797, 1, 8, 8\)"):
        build_pixel_store(DigitsSource(kind="sklearn_digits"), (3, 8, 8), "", tmp_path / "d")
