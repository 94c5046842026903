"""Matching beside training steps: what is timed, and which share of a step it is."""

import numpy as np
import pytest

from dansm.analysis import matching_share
from dansm.analysis.matching_share import measure_matching_share
from dansm.config import MatchingShare
from dansm.io.tables import MATCHING_SHARE_COLUMNS, read_table

from ..factories import make_settings

RUN = make_settings(shape=(1, 8, 8), coupling={"greedy": {"match_size": 4}}, start="other")
SETTINGS = MatchingShare(match_sizes=[4, 100, 5000], rounds=2, steps=2, memory_mb=1, seed=0)


@pytest.fixture
def store(make_store):
    return make_store(np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32))


def test_every_match_size_that_fits_is_timed_in_every_round(store, tmp_path):
    measure_matching_share(SETTINGS, RUN, store, tmp_path / "share.csv")
    table = read_table(tmp_path / "share.csv", MATCHING_SHARE_COLUMNS)
    # 5 000 noises of 64 numbers take more than a megabyte.
    assert list(zip(table["round"], table["match_size"], strict=True)) == [
        (0, 4),
        (0, 100),
        (1, 4),
        (1, 100),
    ]
    assert (table[["step_ms", "match_ms", "ahead_step_ms"]] > 0).all(axis=None)
    assert table.groupby("round")["step_ms"].nunique().tolist() == [1, 1]
    assert set(table["dimensions"]) == {64} and set(table["batch_size"]) == {8}
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["share.csv"]


def test_a_pools_drawing_is_shared_among_its_batches(store, tmp_path, monkeypatch):
    """With a clock that gives a call of match one second and a new pool ten."""
    now = [0.0]

    class Clocked:
        def __init__(self, match_size, seed):
            self.left = self.size = match_size

        def match(self, samples):
            now[0] += 11 if self.left == self.size else 1
            self.left -= len(samples)

    trainer = matching_share.Trainer(make_settings(shape=(1, 8, 8)), store, tmp_path)
    monkeypatch.setattr(matching_share, "Greedy", Clocked)
    monkeypatch.setattr(matching_share.time, "perf_counter", lambda: now[0])
    # 10 batches of 8 from a pool of 80: one second each, and a tenth of the drawing.
    assert matching_share._match_seconds(trainer, 80, 0, 3) == pytest.approx(1 + 10 / 10)
    # Of a large pool not all batches are timed.
    assert matching_share._match_seconds(trainer, 8000, 0, 3) == pytest.approx(1 + 10 / 1000)
