"""What a match size can buy: the best of k Gaussian noises by dimension."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from dansm.figures.base import GREY, style

_MARKERS = "os^Dv*P<"
_SIMILARITIES = {0.05: ":", 0.1: "-.", 0.2: "--", 0.5: "-"}
_MATCH_SIZES = (100, 10_000)  # the paper's


@style()
def best_of_k(table: pd.DataFrame) -> Figure:
    """Return the similarity of the best of k noises against k, and the k that similarities take.

    Parameters
    ----------
    table
        With the columns `dansm.io.tables.BEST_OF_K_COLUMNS`.
    """
    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    dimensions = sorted(table["dimensions"].unique().tolist())
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(dimensions)))
    for k, (dimension, shade) in enumerate(zip(dimensions, shades, strict=True)):
        rows = table[table["dimensions"] == dimension].sort_values("k").astype(float)
        look = {"color": shade, "marker": _MARKERS[k % len(_MARKERS)], "capsize": 2}
        values = rows["k"], rows["similarity"], 1.96 * rows["standard_error"]
        left.errorbar(*values, label=f"d = {dimension:,}", **look)
        left.plot(rows["k"], rows["bound"], color=shade, linestyle="--", linewidth=0.9)
    left.plot([], [], color=GREY, linestyle="--", linewidth=0.9, label="√(2 ln k / d)")
    left.set(xscale="log", ylim=(-0.02, None), xlabel="Noises to choose from, k")
    left.set_ylabel("Similarity of the best (cosine)")
    left.set_title("Measured, 95 % intervals, and bound (dashed)")
    right.set(xscale="log", yscale="log", ylim=(1, 1e16), xlabel="Dimensions d")
    grid = np.geomspace(dimensions[0], dimensions[-1], 200)
    for similarity, line in _SIMILARITIES.items():
        # In powers of ten, since e to the power of thousands is no floating-point number.
        powers = grid * similarity**2 / 2 / math.log(10)
        inside, label = powers < 16.5, f"similarity {similarity:g}"
        right.plot(grid[inside], 10 ** powers[inside], line, color="black", label=label)
    for size in _MATCH_SIZES:
        right.axhline(size, color=GREY, linewidth=0.8)
        beside = {"transform": right.get_yaxis_transform(), "va": "center", "fontsize": 7}
        right.text(1.02, size, f"match size\n{size:,}", **beside)
    right.set_xticks(dimensions, [f"{d:,}" for d in dimensions], rotation=45)
    right.xaxis.set_minor_locator(NullLocator())
    right.set_ylabel("Noises it takes at least, exp(d s² / 2)")
    right.set_title("What a similarity takes")
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3, fontsize=7)
    left.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    left.tick_params(axis="x", rotation=45)
    return figure
