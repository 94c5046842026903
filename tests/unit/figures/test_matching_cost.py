"""What matching costs, drawn: the numbers are the table's, and nothing is drawn that is not."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures import cost_curves, read_costs
from dansm.io.tables import MATCHING_COST_COLUMNS

SIZES, DIMENSIONS, BATCHES = [10, 100, 1000], [64, 4096], [1, 250]


def make_costs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for dimensions in DIMENSIONS:
        for batch_size in BATCHES:
            sized = [(name, size) for name in ("matmul", "greedy", "knn") for size in SIZES]
            for method, match_size in [*sized, ("loom", None), ("independent", None)]:
                rows.append((method, match_size, dimensions, batch_size))
        rows += [("one_by_one", size, dimensions, None) for size in SIZES]
    table = pd.DataFrame(rows, columns=["method", "match_size", "dimensions", "batch_size"])
    table = table.reindex(columns=list(MATCHING_COST_COLUMNS))
    for column in ("microseconds_per_sample", "peak_memory_mib"):
        table[column] = rng.uniform(1, 1e4, len(table))
    table = table.assign(threads=2, processor="abacus")
    over = (table["method"] == "knn") & (table["match_size"] == 1000)
    table.loc[over, ["microseconds_per_sample", "peak_memory_mib"]] = None
    return table.astype(MATCHING_COST_COLUMNS)


@pytest.fixture
def costs() -> pd.DataFrame:
    return make_costs()


def test_lines_and_marks_hold_the_tables_numbers(costs):
    figure = cost_curves(costs, 250)
    names = ["DANSM one by one", "greedy (DANSM)", "independent (vanilla)", "knn (best of k)"]
    names += ["loom", "one matrix product (limit)"]
    (legend,) = figure.legends
    assert sorted(text.get_text() for text in legend.get_texts()) == names
    values = ["microseconds_per_sample", "peak_memory_mib"]
    panels = [(value, dimensions) for value in values for dimensions in DIMENSIONS]
    assert len(figure.axes) == len(panels)
    for axes, (value, dimensions) in zip(figure.axes, panels, strict=True):
        rows = costs[(costs["dimensions"] == dimensions) & costs[value].notna()]
        rows = rows[(rows["batch_size"] == 250) | rows["batch_size"].isna()]
        found = sorted((*line.get_xdata(), *line.get_ydata()) for line in axes.lines)
        for name in ("matmul", "greedy", "knn", "one_by_one"):
            line = rows[rows["method"] == name]
            assert (*line["match_size"], *line[value]) in found
        assert len(rows[rows["method"] == "knn"]) == 2  # its third cell has only a note
        for name in ("loom", "independent"):
            height = rows[rows["method"] == name][value].item()
            (mark,) = [line for line in axes.lines if set(line.get_ydata()) == {height}]
            assert min(mark.get_xdata()) > max(SIZES)
        assert len(axes.lines) == 4 + 2 + 1
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    ticks = [tick.get_text() for tick in figure.axes[-1].get_xticklabels()]
    assert ticks == ["10", "100", "1k", "none"]


def test_the_title_says_what_was_measured_where(costs):
    assert "batches of 250" in cost_curves(costs, 250).get_suptitle()
    assert "2 threads of abacus" in cost_curves(costs, 1).get_suptitle()


def test_no_two_methods_look_alike():
    from dansm.analysis.matching_cost import METHODS
    from dansm.figures.matching_cost import _METHODS

    assert set(_METHODS) == set(METHODS)
    in_grey = [look[2:] for look in _METHODS.values()]
    assert len({str(look) for look in in_grey}) == len(in_grey)


def test_a_batch_size_that_was_not_measured_is_named(costs):
    with pytest.raises(InputError, match=r"batch_size 32: expected .* of \[1, 250\]"):
        cost_curves(costs, 32)


def test_what_is_no_table_of_costs_is_named(tmp_path, costs):
    path = tmp_path / "cost.csv"
    with pytest.raises(InputError, match=r"cost\.csv: expected a table of what .* found no file"):
        read_costs(path)
    path.write_text("method,price\n")
    with pytest.raises(InputError, match=r"cost\.csv: expected columns .*method.*price"):
        read_costs(path)
    costs.assign(method="guessing").to_csv(path, index=False)
    with pytest.raises(InputError, match=r"cost\.csv: expected methods .* found \['guessing'\]"):
        read_costs(path)
    costs.to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_costs(path), costs)
