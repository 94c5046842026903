"""What matching costs, against match size."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator, StrMethodFormatter

from dansm.errors import InputError
from dansm.figures.base import GREY, style
from dansm.io.tables import MATCHING_COST_COLUMNS, read_table

# Name, colour (Okabe and Ito's palette and greys), marker, whether it is filled, line.
_METHODS: dict[str, tuple[str, str, str, bool, Any]] = {
    "greedy": ("greedy (DANSM)", "#000000", "o", True, "-"),
    "one_by_one": ("DANSM one by one", "#d55e00", "s", True, (0, (5, 1, 1, 1))),
    "semidiscrete": ("semidiscrete", "#0072b2", "^", True, (0, (4, 1))),
    "hungarian": ("hungarian", "#009e73", "D", True, (0, (1, 1))),
    "knn": ("knn (best of k)", "#cc79a7", "v", True, "-."),
    "scipy": ("scipy, assignment only", "#009e73", "D", False, (0, (1, 2))),
    "matmul": ("one matrix product (limit)", GREY, "", True, (0, (6, 3))),
    "independent": ("independent (vanilla)", "#000000", "o", False, "-"),
    "immiscible": ("immiscible", "#e69f00", "s", True, "-"),
    "immiscible_quantized": ("immiscible, quantized", "#e69f00", "s", False, "-"),
    "minibatch_ot_exact": ("minibatch OT, exact", "#56b4e9", "p", True, "-"),
    "minibatch_ot_sinkhorn": ("minibatch OT, Sinkhorn", "#56b4e9", "p", False, "-"),
    "loom": ("loom", "#009e73", "P", True, "-"),
    "torchcfm_exact": ("torchcfm, exact OT", "#d55e00", "<", True, "-"),
    "pot_emd": ("POT, plan only", "#d55e00", "<", False, "-"),
}
_VALUES = {
    "microseconds_per_sample": "Time per sample (µs)",
    "peak_memory_mib": "Peak memory (MiB)",
}
_APART = 3.5  # decades beside the match sizes for the methods that have none


def read_costs(path: Path) -> pd.DataFrame:
    """Read the table of what matching costs.

    Raises
    ------
    InputError
        If the file is missing, or has other columns, values that don't fit them or other methods.
    """
    costs = read_table(path, MATCHING_COST_COLUMNS, "what matching costs")
    unknown = sorted(set(costs["method"]) - set(_METHODS))
    if unknown:
        raise InputError(f"{path}: expected methods of {sorted(_METHODS)}, found {unknown}")
    return costs


@style()
def cost_curves(costs: pd.DataFrame, batch_size: int) -> Figure:
    """Return time per sample and peak memory against match size, one column a dimension.

    Parameters
    ----------
    costs
        As read by `read_costs`.
    batch_size
        The one to show, beside the methods that take no batches.

    Raises
    ------
    InputError
        If nothing was measured in batches of this size.
    """
    measured = costs[costs["microseconds_per_sample"].notna()]
    if batch_size not in set(measured["batch_size"].dropna()):
        found = sorted(costs["batch_size"].dropna().unique().tolist())
        raise InputError(f"batch_size {batch_size}: expected one that is measured, of {found}")
    shown = measured[measured["batch_size"].fillna(batch_size) == batch_size]
    dimensions = sorted(shown["dimensions"].unique())
    shown = shown.sort_values("match_size")
    methods = [name for name in _METHODS if name in set(shown["method"])]
    figure = Figure(figsize=(1.8 * len(dimensions) + 0.6, 5.8), layout="constrained")
    grid = figure.subplots(2, len(dimensions), sharex=True, sharey="row", squeeze=False)
    sizes = sorted(shown["match_size"].dropna().unique().tolist())
    unsized = [
        name for name in methods if shown[shown["method"] == name]["match_size"].isna().all()
    ]
    for axes_row, (value, label) in zip(grid, _VALUES.items(), strict=True):
        for axes, count in zip(axes_row, dimensions, strict=True):
            _prepare(axes, sizes)
            for name in methods:
                rows = shown[(shown["dimensions"] == count) & (shown["method"] == name)]
                if name not in unsized:
                    axes.plot(rows["match_size"], rows[value], **_look(name))
                elif not rows.empty:
                    # A dash as wide as the method's share of the strip.
                    parts = [(unsized.index(name) + part) / len(unsized) for part in (0, 0.5, 1)]
                    places = [_edge(sizes) * 10 ** (_APART * part) for part in parts]
                    axes.plot(places, [rows[value].item()] * 3, markevery=[1], **_look(name))
        axes_row[0].set_ylabel(label)
    for axes, count in zip(grid[0], dimensions, strict=True):
        axes.set_title(f"{count:,} dimensions")
    for axes in grid[1]:
        axes.set_xlabel("Match size")
    handles = [Line2D([], [], label=_METHODS[name][0], **_look(name)) for name in methods]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=3)
    threads = shown["threads"].iloc[0]
    machine = f"{threads} thread{'s' if threads > 1 else ''} of {shown['processor'].iloc[0]}"
    title = f"What matching costs in batches of {batch_size:,} ({machine})"
    figure.suptitle(title, fontsize=8, weight="bold")
    return figure


def _look(method: str) -> dict[str, Any]:
    _, color, marker, filled, line = _METHODS[method]
    face = color if filled else "white"
    return {"color": color, "marker": marker, "markerfacecolor": face, "linestyle": line}


def _edge(sizes: list[int]) -> float:
    """Return where the strip beside the match sizes begins."""
    return 10**0.3 * sizes[-1]


def _prepare(axes: Axes, sizes: list[int]) -> None:
    labels = [EngFormatter(sep="")(size) for size in sizes]
    axes.set(xscale="log", yscale="log")
    axes.set_xticks([*sizes, _edge(sizes) * 10 ** (_APART / 2)], [*labels, "none"], rotation=45)
    axes.set_xticks([], minor=True)
    axes.axvline(_edge(sizes), color="0.6", linewidth=0.6)
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.10g}"))
    axes.yaxis.set_minor_locator(NullLocator())
