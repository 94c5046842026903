"""What matching costs, against match size."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter

from dansm.errors import InputError
from dansm.figures.base import GREY, looks_of, machine_name, style

_VALUES = {
    "microseconds_per_sample": "Time per sample (µs)",
    "peak_memory_mib": "Peak memory (MiB)",
}
_LIMIT = "matmul"  # one matrix product, beside which all else is drawn
_APART = 3.5  # decades beside the match sizes for the methods that have none


@style()
def cost_curves(costs: pd.DataFrame) -> Figure:
    """Return time per sample and peak memory against match size, one column a dimension.

    Of the batch sizes that were measured the upper middle one is shown, beside the methods that
    take no batches.

    Parameters
    ----------
    costs
        With the columns `dansm.io.tables.MATCHING_COST_COLUMNS`.

    Raises
    ------
    InputError
        If nothing was measured.
    """
    measured = costs[costs["microseconds_per_sample"].notna()].sort_values("match_size")
    sizes_of_batches = sorted(measured["batch_size"].dropna().unique().tolist())
    if not sizes_of_batches:
        raise InputError("what matching costs: expected measurements, found none")
    batch_size = sizes_of_batches[len(sizes_of_batches) // 2]
    shown = measured[measured["batch_size"].fillna(batch_size) == batch_size]
    dimensions = sorted(shown["dimensions"].unique())
    # In the order of the whole table, so that a method looks the same whatever is shown of it.
    looks = looks_of(name for name in costs["method"] if name != _LIMIT)
    looks[_LIMIT] = {"color": GREY, "linestyle": (0, (6, 3))}
    by_method = {name: shown[shown["method"] == name] for name in looks}
    by_method = {name: rows for name, rows in by_method.items() if not rows.empty}
    unsized = [name for name, rows in by_method.items() if rows["match_size"].isna().all()]
    sizes = sorted(shown["match_size"].dropna().unique().tolist())
    edge = 10**0.3 * sizes[-1]  # where the strip beside the match sizes begins
    figure = Figure((1.8 * len(dimensions) + 0.6, 6), layout="constrained")
    grid = figure.subplots(2, len(dimensions), sharex=True, sharey="row", squeeze=False)
    for axes_row, (value, label) in zip(grid, _VALUES.items(), strict=True):
        for axes, count in zip(axes_row, dimensions, strict=True):
            _prepare(axes, sizes, edge)
            for name, of_method in by_method.items():
                rows = of_method[of_method["dimensions"] == count]
                if name not in unsized:
                    axes.plot(rows["match_size"], rows[value], **looks[name])
                elif not rows.empty:
                    # A dash as wide as the method's share of the strip.
                    parts = (unsized.index(name) + np.array([0, 0.5, 1])) / len(unsized)
                    places = edge * 10 ** (_APART * parts)
                    axes.plot(places, [rows[value].item()] * 3, markevery=[1], **looks[name])
        axes_row[0].set_ylabel(label)
    for top, bottom, count in zip(*grid, dimensions, strict=True):
        top.set_title(f"{count:,} dimensions")
        bottom.set_xlabel("Match size")
    handles = [
        Line2D([], [], label=_title(name, rows["note"]), **looks[name])
        for name, rows in by_method.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, handlelength=3, fontsize=7)
    figure.suptitle(
        f"What matching costs in batches of {batch_size:,} ({machine_name(shown.iloc[0])})"
    )
    return figure


def _title(method: str, notes: pd.Series) -> str:
    """Return a method's name with what the table remarks of it."""
    if method == _LIMIT:
        return "one matrix product (limit)"
    return textwrap.fill(": ".join([method.replace("_", " "), *notes.dropna().unique()[:1]]), 40)


def _prepare(axes: Axes, sizes: list[int], edge: float) -> None:
    labels = [EngFormatter(sep="")(size) for size in sizes]
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([*sizes, edge * 10 ** (_APART / 2)], [*labels, "none"], rotation=45)
    axes.set_xticks([], minor=True)
    axes.axvline(edge, color="0.6", linewidth=0.6)
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axes.yaxis.set_minor_locator(NullLocator())
