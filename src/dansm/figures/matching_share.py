"""What matching adds to a training step, against match size."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dansm.analysis.shares import matching_shares
from dansm.figures.base import BLUE, Look, machine_name, process_title, style

# What each way is called, how it is drawn, and by how much beside the match size.
_DASHED: Look = {"marker": "s", "markerfacecolor": "white", "linestyle": (0, (4, 1.5))}
_WAYS: dict[str, tuple[str, Look, float]] = {
    "inline": ("matched before each step", {"color": "black", "marker": "o"}, 0.95),
    "ahead": ("matched ahead of training", {"color": BLUE, **_DASHED}, 1.05),
}
_LINEAR = 10.0  # per cent up to which the axis is linear


@style()
def share_curves(table: pd.DataFrame, subject: str) -> Figure:
    """Return the time that matching adds, in percent of a vanilla step: median and range of rounds.

    Parameters
    ----------
    table
        With the columns `dansm.io.tables.MATCHING_SHARE_COLUMNS`.
    subject
        Of the title.
    """
    shares = matching_shares(table)
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for way, (label, look, beside) in _WAYS.items():
        spread = shares.groupby("match_size")[way].agg(["median", "min", "max"])
        sizes = beside * spread.index.to_numpy(float)
        ends = np.abs(spread[["min", "max"]].sub(spread["median"], axis=0).to_numpy(float).T)
        axes.errorbar(sizes, spread["median"], yerr=ends, capsize=2, label=label, **look)
    axes.axhline(0, color="0.6", linewidth=0.8)
    axes.set(xscale="log", xlabel="Match size", ylabel="Time added to a training step (%)")
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.yaxis.set_major_formatter("{x:g}")
    sizes = sorted(shares["match_size"].unique())
    axes.set_xticks(sizes, [EngFormatter(sep="")(size) for size in sizes])
    axes.set_xticks([], minor=True)
    figure.legend(loc="outside lower center", ncols=2)
    row = table.iloc[0]
    figure.suptitle(
        f"{subject}: cost of matching ({machine_name(row)})\n"
        f"{process_title(row['process'])}, batches of {row['batch_size']}, "
        f"{row['dimensions']:,} dimensions; a vanilla step takes "
        f"{table['step_ms'].median():.3g} ms\n"
        f"median and range of {table['round'].nunique()} rounds",
        weight="normal",
    )
    return figure
