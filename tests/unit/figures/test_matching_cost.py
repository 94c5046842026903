"""What matching costs, drawn: the numbers are the table's, and nothing is drawn that is not."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures.matching_cost import cost_curves
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
    table = table.assign(threads=2, processor="abacus", device="cpu")
    table["note"] = table["method"].map({"loom": "5 samples"})
    over = (table["method"] == "knn") & (table["match_size"] == 1000)
    table.loc[over, ["microseconds_per_sample", "peak_memory_mib"]] = None
    return table.astype(MATCHING_COST_COLUMNS)


@pytest.fixture
def costs() -> pd.DataFrame:
    return make_costs()


def test_lines_and_marks_hold_the_tables_numbers(costs):
    figure = cost_curves(costs)
    names = ["greedy", "independent", "knn", "loom: 5 samples", "one by one"]
    names += ["one matrix product (limit)"]
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
    title = cost_curves(costs).get_suptitle()
    assert "batches of 250" in title and "2 threads of abacus" in title
    only = costs[costs["batch_size"].fillna(1) == 1]
    assert "batches of 1 " in cost_curves(only).get_suptitle()


def test_nothing_measured_is_nothing_to_draw(costs):
    with pytest.raises(InputError, match="expected measurements, found none"):
        cost_curves(costs.assign(microseconds_per_sample=None))
