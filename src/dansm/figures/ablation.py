"""Couplings compared: final distances with their intervals, and the way there."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from dansm.analysis.ablation import summarise_ablation
from dansm.errors import InputError
from dansm.figures.base import SAMPLER_NAMES, label_decades, span, steps_name, style
from dansm.figures.distances import method_name, metric_name
from dansm.io.tables import MARGINAL_COLUMNS, SECONDS, read_table

_METHOD = ["coupling", "match_size"]
_STEPS = (3, 5, 10)  # whose final distances are shown
# Of the table of what couplings do to the noise: the statistics shown, and their axes.
_MARGINALS = {
    "path_length": ("Path length\n", "mean of ‖x − z‖", "linear"),
    "microseconds_per_sample": ("Cost of\nmatching", "µs a sample", "log"),
}
# Okabe and Ito's colours without the yellow, which is too pale for lines on white.
_COLOURS = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
_LINES = ["-", (0, (4, 1.5)), (0, (1, 1))]
_MARKERS = "osD^vP*X<>pdh8"

Look = dict[str, Any]


def read_marginals(path: Path) -> pd.DataFrame:
    """Read the table of what couplings do to the noise.

    Raises
    ------
    InputError
        If the file is missing, or has other columns or values that don't fit them.
    """
    return read_table(path, MARGINAL_COLUMNS, "couplings' marginals")


@style()
def coupling_ablation(table: pd.DataFrame, marginals: pd.DataFrame | None = None) -> Figure:
    """Return what each coupling reaches and costs, and the way there at the fewest steps.

    Parameters
    ----------
    table
        As read by `dansm.analysis.ablation.read_ablation`, of one dataset, process and sampler.
    marginals
        As read by `read_marginals`: then path lengths and costs stand beside the distances.

    Raises
    ------
    InputError
        If there are no Fréchet distances, or those of several feature extractors or samplers.
    """
    rows = table[table["metric"] == "frechet_distance"].dropna(subset=["steps"])
    kinds = {(row.feature_extractor, row.sampler) for row in rows.itertuples()}
    if len(kinds) != 1:
        raise InputError(
            "distances: expected Fréchet distances over one extractor's features and of one "
            f"sampler, found those of {sorted(kinds)}"
        )
    ((extractor, sampler),) = kinds
    summary = summarise_ablation(table)
    found = sorted(summary["steps"].unique())
    counts = [steps for steps in found if steps in _STEPS] or found[:1]
    first = summary[summary["steps"] == counts[0]]
    methods = [tuple(method) for method in first[_METHOD].itertuples(index=False)]
    looks = {
        method: {
            "color": _COLOURS[k % len(_COLOURS)],
            "linestyle": _LINES[k // len(_COLOURS) % len(_LINES)],
            "marker": _MARKERS[k % len(_MARKERS)],
        }
        for k, method in enumerate(methods)
    }
    height = 0.19 * len(methods) + 0.75
    figure = Figure(figsize=(7, height + 3.2), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(height, 2.9))
    beside = {} if marginals is None else _MARGINALS
    panels = upper.subplots(1, len(counts) + len(beside), sharey=True, squeeze=False)[0]
    for axes, steps in zip(panels, counts, strict=False):
        if axes is not panels[0]:
            axes.sharex(panels[0])
        _draw_final(axes, summary[summary["steps"] == steps], looks)
        axes.set_title(f"Distance,\n{steps_name(steps)}")
        axes.set_xlabel("after training")
    for axes, (statistic, (title, unit, scale)) in zip(
        panels[len(counts) :], beside.items(), strict=True
    ):
        _draw_marginal(axes, marginals[marginals["statistic"] == statistic], looks)
        axes.set(title=title, xlabel=unit, xscale=scale)
    panels[0].set_yticks(range(len(methods)), [method_name(*method) for method in methods])
    panels[0].set_ylim(len(methods) - 0.5, -0.5)
    curves = rows[(rows["steps"] == counts[0]) & (rows["seed_range"] == 0)]
    by_images, by_seconds = lower.subplots(1, 2, sharey=True)
    _draw_curves(by_images, curves, looks, "images_seen")
    _draw_curves(by_seconds, curves, looks, SECONDS)
    by_images.set_xlabel("Training images seen")
    by_images.xaxis.set_major_formatter(EngFormatter(sep=""))
    by_seconds.set_xlabel("Wall-clock seconds, preparation included")
    by_images.set_ylabel(f"Distance, {steps_name(counts[0])}")
    handles = [Line2D([], [], label=method_name(*key), **look) for key, look in looks.items()]
    lower.legend(handles=handles, loc="outside lower center", ncols=4)
    seeds = f"mean over {span(summary['seeds'])} seeds, bars: Student's 95 % interval"
    if summary["seeds"].max() == 1:
        seeds = "one seed, so there are no intervals"
    figure.suptitle(
        f"{rows['dataset'].iloc[0]}: {metric_name(extractor)}, {SAMPLER_NAMES[sampler]} steps\n"
        f"{seeds}",
        fontsize=8,
        weight="bold",
    )
    return figure


def _draw_final(axes: Axes, summary: pd.DataFrame, looks: dict[tuple, Look]) -> None:
    """Draw a line for each method, in the looks' order from the top: mean and interval."""
    for place, (method, look) in enumerate(looks.items()):
        row = summary[(summary[_METHOD] == list(method)).all(axis=1)].iloc[0]
        bounds = np.array([[row["mean"] - row["low"]], [row["high"] - row["mean"]]])
        axes.errorbar(
            [row["mean"]],
            [place],
            xerr=None if np.isnan(bounds).any() else bounds,
            color=look["color"],
            marker=look["marker"],
            linestyle="none",
            capsize=2,
        )
    axes.set_xscale("log")
    label_decades(axes.xaxis)


def _draw_marginal(axes: Axes, rows: pd.DataFrame, looks: dict[tuple, Look]) -> None:
    """Draw a statistic of the whole stream of each method's pairs."""
    values = rows[rows["window"] == "stream"].set_index(["name", "match_size"])["value"]
    for place, (method, look) in enumerate(looks.items()):
        if method in values.index:
            point = {"color": look["color"], "marker": look["marker"], "linestyle": "none"}
            axes.plot([float(values.loc[method])], [place], **point)


def _draw_curves(axes: Axes, curves: pd.DataFrame, looks: dict[tuple, Look], by: str) -> None:
    """Draw means over seeds; the time of a snapshot is the mean over seeds too."""
    for method, look in looks.items():
        rows = curves[(curves[_METHOD] == list(method)).all(axis=1)]
        means = rows.groupby("images_seen").agg(value=("value", "mean"), seconds=(SECONDS, "mean"))
        places = means.index if by == "images_seen" else means["seconds"]
        axes.plot(places.astype(float), means["value"].astype(float), **look)
    axes.set_yscale("log")
    label_decades(axes.yaxis)
