"""Runs compared: final values with their intervals, what matching costs, and the way there."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dansm.catalogue import METRICS
from dansm.errors import InputError
from dansm.figures import base
from dansm.figures.distances import (
    draw_curves,
    of_metric,
    of_snapshots,
    panel_title,
    panels_of,
    scale_distances,
)
from dansm.io.load import doubt

_STEPS = (3, 5, 10)  # whose final values are shown
# Of the table of what couplings do to the noise: the statistics shown, and their axes.
_MARGINALS = {
    "path_length": ("Path length\n", "mean of ‖x − z‖", "linear"),
    "microseconds_per_sample": ("Cost of\nmatching", "µs a sample", "log"),
}
_ALONG = {
    "images_seen": "Training images seen",
    "seconds": "Wall-clock seconds, preparation included",
}
_COUPLING = ["coupling", "match_size", "options"]


@base.style()
def comparison(
    distances: pd.DataFrame,
    summary: pd.DataFrame,
    marginals: pd.DataFrame | None,
    subject: str,
    reference: str,
    metric: str = "frechet_distance",
) -> Figure:
    """Return what each run reaches and costs, and the way there at the fewest steps.

    Each process has a block, of the first sampler that is measured along training. Of several
    feature extractors the first of the catalogue is shown.

    Parameters
    ----------
    distances, summary
        With the columns `dansm.io.tables.COMPARISON_COLUMNS` and ``SUMMARY_COLUMNS``.
    marginals
        With ``MARGINAL_COLUMNS``: path lengths and costs of what is of the same dataset stand
        beside the distances.
    subject
        Of the title.
    reference
        With which real images is compared: one of `dansm.config.PARTS`.
    metric
        Any of `dansm.catalogue.METRICS`.

    Raises
    ------
    InputError
        If there are no such distances of generated samples.
    """
    rows, reference = of_metric(distances, metric, reference)
    finals = of_metric(summary, metric, reference)[0].dropna(subset="run")
    extractor = panels_of(finals)[0][0][0]
    rows, finals = (t[t["feature_extractor"] == extractor] for t in (rows, finals))
    curves, titles = of_snapshots(rows), base.run_titles(distances)
    blocks = []
    for process, of_process in finals.groupby("process"):
        panels = panels_of(curves[curves["process"] == process]) or panels_of(of_process)
        sampler = panels[0][0][2]
        blocks.append((process, sampler, of_process[of_process["sampler"] == sampler]))
    blocks.sort(key=lambda block: base.process_place(block[0]))
    ranked = [_ranked(block[2], metric) for block in blocks]
    shown = {run for runs in ranked for run in runs}
    by_title = base.looks_of(title for run, title in titles.items() if run in shown)
    looks = {run: by_title[title] for run, title in titles.items() if run in shown}
    if marginals is not None:
        marginals = marginals[marginals["dataset"] == distances["dataset"].iloc[0]]
    heights = [0.19 * len(runs) + 3.3 for runs in ranked]
    figure = Figure((7, sum(heights) + 0.19 * len(by_title) / 3 + 0.6), layout="constrained")
    subfigures = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (process, sampler, of_block), runs in zip(subfigures, blocks, ranked, strict=True):
        height = 0.19 * len(runs) + 1.0
        upper, lower = part.subfigures(2, 1, height_ratios=(height, 2.3))
        upper.suptitle(panel_title(process, sampler), weight="normal")
        _draw_finals(upper, of_block, marginals, {run: looks[run] for run in runs}, titles)
        along = curves[(curves["process"] == process) & (curves["sampler"] == sampler)]
        along = along[along["steps"] == along["steps"].min()]
        if along.empty:
            raise InputError(f"distances: expected {metric} of several snapshots, found none")
        panels = lower.subplots(1, 2, sharey=True)
        for axes, (by, text) in zip(panels, _ALONG.items(), strict=True):
            draw_curves(axes, along, looks, by, band=False)
            doubtful = by == "seconds" and doubt(along["busy_others"].astype(float).tolist())
            axes.set_xlabel(f"{text}\n({doubtful})" if doubtful else text)
        panels[0].set_ylabel(f"{METRICS[metric].title}, {base.steps_name(along['steps'].min())}")
    handles = [Line2D([], [], label=title, **look) for title, look in by_title.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    seeds = f"mean over {base.span(finals['seeds'])} seeds and {base.span(finals['image_sets'])} "
    seeds += "image sets, bars: 95 % interval over both"
    if finals["seeds"].max() == 1:
        seeds = "one seed, so there are no intervals"
    name = base.metric_title(metric, extractor, reference)
    figure.suptitle(f"{subject}: {name}\n{seeds}{base.unequal_note(distances)}")
    return figure


def _ranked(finals: pd.DataFrame, metric: str) -> list[str]:
    """Return runs by their means at the fewest steps that are shown, the best first."""
    first = finals[finals["steps"] == _counts(finals)[0]]
    return first.sort_values("mean", ascending=METRICS[metric].lower_is_better)["run"].tolist()


def _counts(finals: pd.DataFrame) -> list[int]:
    found = sorted(finals["steps"].unique())
    return [steps for steps in found if steps in _STEPS] or found[:1]


def _draw_finals(
    figure: Figure,
    finals: pd.DataFrame,
    marginals: pd.DataFrame | None,
    looks: dict[str, base.Look],
    titles: dict[str, str],
) -> None:
    """Draw a line for each run, in the looks' order from the top: mean and interval."""
    looks = {run: look | {"linestyle": "none"} for run, look in looks.items()}
    counts = _counts(finals)
    beside = {} if marginals is None or marginals.empty else _MARGINALS
    panels = figure.subplots(1, len(counts) + len(beside), sharey=True, squeeze=False)[0]
    for axes, steps in zip(panels, counts, strict=False):
        if axes is not panels[0]:
            axes.sharex(panels[0])
        rows = finals[finals["steps"] == steps].set_index("run").astype({"mean": float})
        for place, (run, look) in enumerate(looks.items()):
            if run in rows.index:
                row = rows.loc[run]
                bounds = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
                bar = None if pd.isna(row["low"]) else np.array(bounds, float)
                axes.errorbar([row["mean"]], [place], xerr=bar, capsize=2, **look)
        scale_distances(axes, finals, "x")
        axes.set_title(f"After training,\n{base.steps_name(steps)}")
    panels[0].set_xlabel(METRICS[finals["metric"].iloc[0]].title)
    couplings = finals.fillna({"options": ""}).drop_duplicates("run").set_index("run")[_COUPLING]
    for axes, (statistic, (title, unit, scale)) in zip(
        panels[len(counts) :], beside.items(), strict=True
    ):
        rows = marginals[(marginals["statistic"] == statistic) & (marginals["window"] == "stream")]
        values = rows.fillna({"options": ""}).set_index(_COUPLING)["value"]
        for place, (run, look) in enumerate(looks.items()):
            coupling = tuple(couplings.loc[run])
            if coupling in values.index:
                axes.plot([float(values.loc[coupling])], [place], **look)
        axes.set(title=title, xlabel=unit, xscale=scale)
        if scale == "log":
            base.label_decades(axes.xaxis)
    panels[0].set_yticks(range(len(looks)), [titles[run] for run in looks])
    panels[0].set_ylim(len(looks) - 0.5, -0.5)
