"""What matching costs: every cell is there, counted as described; no assertion on a time."""

import os
import signal
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

from dansm.analysis import matching_cost, timed_methods
from dansm.analysis.matching_cost import measure_cell, measure_matching_cost
from dansm.analysis.timed_methods import (
    METHODS,
    Cell,
    Repetition,
    TimedMethod,
    match_one_by_one,
)
from dansm.config import MatchingCost
from dansm.couplings import COUPLINGS, make_coupling
from dansm.io.tables import MATCHING_COST_COLUMNS, read_table
from dansm.randomness import generator

SETTINGS = MatchingCost(
    match_sizes=[4, 30],
    dimensions=[3],
    batch_sizes=[1, 8],
    seconds=0.001,
    repetitions=3,
    limit_seconds=60,
    memory_mb=1000,
    threads=1,
    seed=0,
)
SIZED = ["matmul", "greedy", "knn", "semidiscrete"]
WITHOUT_BATCH = ["one_by_one", "hungarian", "scipy"]
UNSIZED = ["independent", "immiscible", "immiscible_quantized", "minibatch_ot_exact"]
UNSIZED += ["minibatch_ot_sinkhorn", "loom", "torchcfm_exact", "pot_emd"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("cost") / "matching_cost.csv"
    measure_matching_cost(SETTINGS, path, threads=1)
    assert not list(path.parent.rglob("*.jsonl"))
    return read_table(path, MATCHING_COST_COLUMNS)


def test_every_method_has_every_cell_that_it_can_have(table):
    sizes = table[["method", "match_size", "dimensions", "batch_size"]].astype(object)
    found = {tuple(None if pd.isna(v) else v for v in row) for row in sizes.itertuples(index=False)}
    expected = {(name, m, 3, b) for name in SIZED for m in (4, 30) for b in (1, 8)}
    expected |= {(name, m, 3, None) for name in WITHOUT_BATCH for m in (4, 30)}
    expected |= {(name, None, 3, b) for name in UNSIZED for b in (1, 8)}
    assert found == expected
    assert len(table) == len(expected)


def test_every_coupling_is_measured():
    measured = {name for name in COUPLINGS for method in METHODS if method.startswith(name)}
    assert measured == {name for name, entry in COUPLINGS.items() if "noise" not in entry.needs}


def test_without_a_library_its_method_is_left_out_with_a_note(monkeypatch):
    monkeypatch.setitem(METHODS, "other", replace(METHODS["loom"], library="no_such_library"))
    row = measure_cell(Cell("other", None, 3, 8), SETTINGS, 1)
    assert row["note"] == "no_such_library is not installed"
    assert "microseconds_per_sample" not in row


def test_the_numbers_fit_each_other(table):
    for column in ("microseconds_per_sample", "low", "high", "peak_memory_mib"):
        assert (table[column] >= 0).all()
    assert (table["low"] <= table["microseconds_per_sample"]).all()
    assert (table["microseconds_per_sample"] <= table["high"]).all()
    times = {
        (row.method, row.match_size, row.batch_size): row.microseconds_per_sample
        for row in table.dropna(subset=["match_size", "batch_size"]).itertuples()
    }
    for row in table.itertuples():
        if row.method in SIZED:
            product = times["matmul", row.match_size, row.batch_size]
            assert row.times_matmul == pytest.approx(row.microseconds_per_sample / product)
        else:
            assert pd.isna(row.times_matmul)


def test_the_first_of_three_repetitions_is_dropped_and_the_others_are_whole(table):
    counts = table.set_index(["method", "match_size", "batch_size"])["samples_timed"]
    for name in ("matmul", "greedy", "knn", "semidiscrete"):
        assert counts[name, 30, 8] == 2 * 8
    whole = table[table["batch_size"].isna()].groupby("method")["samples_timed"].agg(list)
    assert whole["one_by_one"] == [2, 2]
    assert whole["hungarian"] == whole["scipy"] == [2 * 4, 2 * 30]


@pytest.mark.parametrize(("match_size", "batches"), [(30, 15), (32, 1), (20, 5), (7, 2)])
def test_small_pools_are_used_up_whole(match_size, batches):
    """The fewest batches of 32 that end within 5 % of their samples after a pool's end."""
    expected = next(k for k in range(1, 99) if 32 * k % match_size <= 0.05 * 32 * k)
    assert batches == expected
    repetitions = METHODS["greedy"].repetitions(Cell("greedy", match_size, 3, 32), 0)
    assert [next(repetitions).samples for _ in range(2)] == [32 * batches] * 2


def test_one_by_one_takes_what_greedy_takes_and_what_is_nearest():
    samples = torch.rand(25, 6, generator=generator(7, "samples"))
    pool = torch.randn(40, 6, generator=generator(3, "pool", 1, 0))
    noise, left = match_one_by_one(samples, pool)
    assert torch.equal(make_coupling("greedy", match_size=40, seed=3).match(samples), noise)
    rows = pool.tolist()
    for sample, taken in zip(samples.tolist(), noise.tolist(), strict=True):
        nearest = min(
            rows, key=lambda row: sum((a - b) ** 2 for a, b in zip(row, sample, strict=True))
        )
        assert taken == nearest
        rows.remove(nearest)
    assert left.tolist() == rows


def test_a_pools_drawing_is_shared_among_its_samples(monkeypatch):
    pools = []

    def timed(work, *arguments):
        result = work(*arguments)
        rows = len(arguments[0])
        coupling = work.__self__
        if coupling not in pools:
            pools.append(coupling)
            return 7.0, result  # draws the pool, and matches a sample
        return (2.0 if rows == 1 else 3.0), result

    monkeypatch.setattr(timed_methods, "_timed", timed)
    repetitions = METHODS["greedy"].repetitions(Cell("greedy", 200, 3, 8), 0)
    found = [next(repetitions) for _ in range(5)]
    assert found == [Repetition(8, 3 + (7 - 2) * 8 / 200)] * 5
    assert len(pools) == 3  # two batches of 8 while nine tenths of the 200 are left


def test_a_cell_over_the_memory_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(matching_cost, "METHODS", {name: METHODS[name] for name in SIZED[:2]})
    settings = SETTINGS.model_copy(update={"match_sizes": [4, 100_000], "memory_mb": 1})
    measure_matching_cost(settings, tmp_path / "cost.csv", threads=1)
    table = read_table(tmp_path / "cost.csv", MATCHING_COST_COLUMNS)
    over = table[table["match_size"] == 100_000]
    assert set(over["note"]) == {"needs about 1 MB of memory; limit 1 MB"}  # 1.2
    numbers = ["samples_timed", "microseconds_per_sample", "low", "high", "peak_memory_mib"]
    assert over[[*numbers, "times_matmul"]].isna().all(axis=None)
    assert table[table["match_size"] == 4][numbers].notna().all(axis=None)


@pytest.mark.parametrize(
    ("cell", "smaller", "expected"),
    [
        (Cell("greedy", 1000, 3, 8), Cell("greedy", 100, 3, 8), "about 90 s; limit 60 s"),
        (Cell("scipy", 300, 3, None), Cell("scipy", 100, 3, None), "about 81 s; limit 60 s"),
        (Cell("hungarian", 30, 3, None), Cell("hungarian", 10, 3, None), "about 81 s; limit 60 s"),
        (Cell("loom", None, 3, 64), Cell("loom", None, 3, 8), "about 72 s; limit 60 s"),
    ],
)
def test_a_cell_over_the_time_is_foretold_from_a_smaller_one(cell, smaller, expected):
    row = measure_cell(cell, SETTINGS, 1, smaller._asdict() | {"seconds": 9.0})
    assert row["note"] == f"would take {expected}"
    assert "microseconds_per_sample" not in row


@pytest.mark.parametrize(
    ("other", "seconds"),
    [
        (Cell("greedy", 40, 3, 8), 59.0),
        (Cell("greedy", 4, 2, 8), 59.0),
        (Cell("knn", 4, 3, 8), 59.0),
        (Cell("greedy", 4, 3, 8), None),
        (Cell("greedy", 2, 3, 8), 5.9),  # fifteen times that would be too much
    ],
)
def test_other_cells_and_short_times_foretell_nothing(other, seconds):
    row = measure_cell(
        Cell("greedy", 30, 3, 8), SETTINGS, 1, other._asdict() | {"seconds": seconds}
    )
    assert row["microseconds_per_sample"] > 0


def failing(work):
    def repetitions(cell, seed):
        work()
        while True:
            yield Repetition(1, 1.0)

    return TimedMethod(repetitions, sized=False)


def test_a_cell_that_does_not_end_or_dies_says_so(monkeypatch, capfd):
    cell = Cell("failing", None, 3, 8)
    short = SETTINGS.model_copy(update={"limit_seconds": 0.3, "seconds": 0.1})
    monkeypatch.setitem(METHODS, "failing", failing(lambda: time.sleep(60)))
    assert measure_cell(cell, short, 1)["note"] == "no result after 0.4 s; limit 0.3 s"
    kill = failing(lambda: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setitem(METHODS, "failing", kill)
    note = measure_cell(cell, SETTINGS, 1)["note"]
    assert note == "ended by signal 9, as when memory runs out"
    monkeypatch.setitem(METHODS, "failing", failing(lambda: 1 // 0))
    with pytest.raises(RuntimeError, match=r"Cell\(method='failing'.*traceback"):
        measure_cell(cell, SETTINGS, 1)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_peak_memory_is_that_of_the_cell_alone(monkeypatch):
    held = torch.ones(2**26)  # 256 MiB of this process
    monkeypatch.setitem(METHODS, "failing", failing(lambda: torch.ones(2**24).sum()))
    large = measure_cell(Cell("failing", None, 3, 8), SETTINGS, 1)["peak_memory_mib"]
    monkeypatch.setitem(METHODS, "failing", failing(lambda: None))
    small = measure_cell(Cell("failing", None, 3, 8), SETTINGS, 1)["peak_memory_mib"]
    assert 60 < large < 128
    assert small < 32
    assert len(held) == 2**26


def test_an_interrupted_measurement_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "matching_cost.csv"
    monkeypatch.setattr(matching_cost, "METHODS", {name: METHODS[name] for name in SIZED[:2]})
    measured = []

    def counted(cell, *arguments):
        if len(measured) == 5:
            raise KeyboardInterrupt
        measured.append(cell)
        return measure_cell(cell, *arguments)

    monkeypatch.setattr(matching_cost, "measure_cell", counted)
    with pytest.raises(KeyboardInterrupt):
        measure_matching_cost(SETTINGS, path, threads=1)
    assert not path.exists()
    first, measured[:] = list(measured), []
    measure_matching_cost(SETTINGS, path, threads=1)
    assert first + measured == matching_cost.cells(SETTINGS)
    assert len(measured) == 3
    # Under other conditions nothing is taken over.
    measured.clear()
    with pytest.raises(KeyboardInterrupt):
        measure_matching_cost(SETTINGS.model_copy(update={"seed": 1}), path, threads=1)
    measured.clear()
    with pytest.raises(KeyboardInterrupt):
        measure_matching_cost(SETTINGS.model_copy(update={"seed": 2}), path, threads=1)
    assert len(measured) == 5
