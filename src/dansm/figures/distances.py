"""Distances of generated samples: the paper's tables and training curves."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from dansm.catalogue import METRICS, SPACES
from dansm.errors import InputError
from dansm.figures import base

_PANEL = ["feature_extractor", "process", "sampler"]
_FLOOR: base.Look = {"color": base.GREY, "linestyle": (0, (6, 3)), "linewidth": 1}
_FLOORS = ("real_halves", "real_images")
_FAR = 10  # times below all curves
_AXES = {"images_seen": "Training images seen", "seconds": "Training time (s)"}

# Metric, sampler and run: the index of a line of the table of distances.
Row = tuple[str, str, str]


def panel_title(process: str, sampler: str) -> str:
    """Return the title of what a sampler of a process makes."""
    return f"{base.process_title(process)}, {base.sampler_title(sampler)}"


def of_metric(table: pd.DataFrame, metric: str, reference: str) -> tuple[pd.DataFrame, str | None]:
    """Return a metric's rows, `OWN` as the steps of samplers that have their own.

    Also with which real images it compares, see `base.to_show`.

    Raises
    ------
    InputError
        If there are none of runs.
    """
    rows = table[table["metric"] == metric]
    if rows["run"].isna().all():
        found = sorted(table["metric"].unique())
        raise InputError(f"distances: expected {metric} of generated samples, found {found}")
    rows, compared = base.to_show(rows, reference)
    return rows.assign(steps=rows["steps"].fillna(base.OWN).astype(int)), compared


def floor_title(process: str, reference: str | None) -> str:
    """Say what the real images, or their reconstructions, are that stand beside the runs."""
    if process == "real_images":
        return {"training": "real held-out images", "held_out": "real training images"}[reference]
    return {
        "real_halves": "random halves of the real images",
        "reconstruction": "reconstructions by the autoencoder",
    }[process]


def of_snapshots(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows, of runs, that are measured along training: they have several snapshots."""
    rows = rows[rows["run"].notna() & (rows["image_set"] == 0)]
    return rows[rows.groupby([*_PANEL, "steps"])["images_seen"].transform("nunique") > 1]


def panels_of(rows: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Return rows by extractor, process and sampler, in the catalogue's order.

    Raises
    ------
    InputError
        If the catalogue does not have an extractor.
    """
    extractors = list(SPACES)
    unknown = sorted(set(rows["feature_extractor"]) - set(extractors))
    if unknown:
        raise InputError(f"table: expected features of {extractors}, found {unknown[0]!r}")

    def place(panel: tuple[tuple[str, str, str], pd.DataFrame]) -> tuple[Any, ...]:
        extractor, process, sampler = panel[0]
        return extractors.index(extractor), base.process_place(process), sampler

    return sorted(rows.groupby(_PANEL), key=place)


@base.style()
def distance_table(
    summary: pd.DataFrame, subject: str, reference: str, metric: str = "frechet_distance"
) -> tuple[pd.DataFrame, Figure]:
    """Return the table of distances at the last snapshot, as text and drawn.

    Parameters
    ----------
    summary
        With the columns `dansm.io.tables.SUMMARY_COLUMNS`.
    subject
        Of the title.
    reference
        With which real images is compared: one of `dansm.config.PARTS`.
    metric
        Any of `dansm.catalogue.METRICS`.

    Returns
    -------
    table : pandas.DataFrame
        Cells as printed, indexed by metric, sampler and run. The first row of each sampler
        holds its true number of network evaluations (NFE).
    figure : matplotlib.figure.Figure
        The same, with the best mean of each column within a sampler in bold.

    Raises
    ------
    InputError
        If there are no such distances of generated samples.
    """
    rows, reference = of_metric(summary, metric, reference)
    means = rows[rows["run"].notna()]
    titles = base.run_titles(summary)
    counts = sorted(means["steps"].unique(), key=lambda n: (n == base.OWN, n))
    names = {n: base.steps_name(n) for n in counts}
    lower = METRICS[metric].lower_is_better
    columns = means.groupby([*_PANEL, "steps"])["mean"]
    best = means["mean"] == columns.transform("min" if lower else "max")
    means = means.assign(best=best & (columns.transform("size") > 1))
    cells: dict[Row, dict[str, str]] = {}
    bold: set[tuple[Row, str]] = set()
    for (extractor, process, sampler), group in panels_of(means):
        title = base.metric_title(metric, extractor, reference)
        block = title, panel_title(process, sampler)
        evaluations = group.groupby("steps")["nfe"]
        cells[*block, "NFE"] = {names[steps]: f"NFE {base.span(nfe)}" for steps, nfe in evaluations}
        for run in (run for run in titles if run in set(group["run"])):
            of_run = group[group["run"] == run]
            key = (*block, titles[run])
            cells[key] = {"seeds": base.span(of_run["seeds"])}
            for line in of_run.itertuples():
                text = _plus_minus(line.mean, line.high - line.mean)
                if line.steps == base.OWN:
                    text += f" ({line.nfe:.0f})"
                cells[key][names[line.steps]] = text
                if line.best:
                    bold.add((key, names[line.steps]))
    for line in rows[rows["run"].isna()].sort_values("process").itertuples():
        count = f"{line.n_samples:,} images"
        if line.image_sets > 1:
            count = f"{line.image_sets} draws of {count}"
        name = f"{floor_title(line.process, reference).capitalize()} ({count})"
        title = base.metric_title(metric, line.feature_extractor, reference)
        cells[title, name, _plus_minus(line.mean, line.high - line.mean)] = {}
    table = pd.DataFrame(list(cells.values())).fillna("")
    table.index = pd.MultiIndex.from_tuples(cells, names=["metric", "sampler", "run"])
    table = table[[name for name in ("seeds", *names.values()) if name in table]]
    table = table.sort_index(level="metric", sort_remaining=False, kind="stable")
    caption = _table_caption(means, lower) + base.unequal_note(summary).replace("; r", " R")
    return table, _draw_table(table, bold, subject, caption)


@base.style()
def distance_curves(
    distances: pd.DataFrame, subject: str, reference: str, metric: str = "frechet_distance"
) -> Figure:
    """Return a metric along training, by images seen and by time, of all that is measured so.

    Lines are means over seeds, bands their range; the dashed grey line is the distance of other
    real images, whose number alone is given where the line would be far below.

    Parameters
    ----------
    distances
        With the columns `dansm.io.tables.COMPARISON_COLUMNS`.
    subject, reference, metric
        As in `distance_table`.

    Raises
    ------
    InputError
        If nothing is measured at more than one snapshot.
    """
    rows, reference = of_metric(distances, metric, reference)
    curves = of_snapshots(rows)
    if curves.empty:
        raise InputError(f"distances: expected {metric} of several snapshots, found none")
    titles = base.run_titles(distances)
    titles = {run: title for run, title in titles.items() if run in set(curves["run"])}
    by_title = base.looks_of(titles.values())
    looks = {run: by_title[title] for run, title in titles.items()}
    counts = sorted(curves["steps"].unique())
    real = rows[rows["process"].isin(_FLOORS)]
    floors = real.groupby("feature_extractor")["value"].mean()
    below: set[str] = set()
    lines = [(*p, by) for p in panels_of(curves) for by in _AXES if p[1][by].notna().any()]
    figure = Figure((1.7 * len(counts) + 0.6, 1.9 * len(lines) + 0.9), layout="constrained")
    grid = figure.subplots(len(lines), len(counts), sharex="row", sharey="row", squeeze=False)
    for axes_row, ((extractor, process, sampler), of_panel, by) in zip(grid, lines, strict=True):
        floor = floors.get(extractor, np.nan)
        name = textwrap.fill(panel_title(process, sampler), 24)
        for axes, steps in zip(axes_row, counts, strict=True):
            shown = of_panel[of_panel["steps"] == steps]
            if shown.empty:
                axes.set_visible(False)
                continue
            draw_curves(axes, shown, looks, by)
            if floor > of_panel["value"].min() / _FAR:
                axes.axhline(floor, **_FLOOR)
            elif not pd.isna(floor):
                below.add(f"{floor:.2g}")
            axes.set_title(f"{name}\n{base.steps_name(steps)} (NFE {base.span(shown['nfe'])})")
            axes.set_xlabel(_AXES[by])
        title = base.metric_title(metric, extractor, reference)
        axes_row[0].set_ylabel(title.replace(", ", "\n").replace(" against ", "\nagainst "))
    seeds = curves.groupby(["process", "run"])["seed"].nunique()
    numbers = ", ".join(
        f"{base.process_title(process).lower()} {base.span(seeds[process])}"
        for process in sorted(seeds.index.unique("process"), key=base.process_place)
    )
    figure.suptitle(f"{subject} (number of seeds: {numbers}){base.unequal_note(distances)}")
    handles: list[Any] = [Line2D([], [], label=title, **look) for title, look in by_title.items()]
    if seeds.max() > 1:
        handles.append(Patch(facecolor=base.GREY, alpha=0.35, label="min to max over seeds"))
    if not real.empty:
        draws, images = real["image_set"].nunique(), base.span(real["n_samples"])
        title = floor_title(real["process"].iloc[0], reference)
        text = f"{title}, mean of {draws} draws of {images}"
        text += f":\n{', '.join(sorted(below))}, below the axes" if below else ""
        handles.append(Line2D([], [], label=text, **_FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    return figure


def draw_curves(
    axes: Axes, rows: pd.DataFrame, looks: dict[str, base.Look], by: str, band: bool = True
) -> None:
    """Draw each run's mean over seeds, perhaps with their range; its time is the mean too."""
    for run, look in looks.items():
        of_run = rows[rows["run"] == run]
        if of_run.empty:
            continue
        at = of_run.groupby("images_seen")
        values = at["value"].agg(["mean", "min", "max"]).astype(float)
        places = np.asarray(values.index if by == "images_seen" else at[by].mean(), float)
        axes.plot(places, values["mean"], **look)
        if band and of_run["seed"].nunique() > 1:
            edges = (places, values["min"], values["max"])
            axes.fill_between(*edges, color=look["color"], alpha=0.2, linewidth=0)
    scale_distances(axes, rows, "y")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def scale_distances(axes: Axes, rows: pd.DataFrame, which: str) -> None:
    """Make an axis of a metric logarithmic, but for shares and where values are not positive."""
    column = "value" if "value" in rows else "mean"
    if METRICS[rows["metric"].iloc[0]].lower_is_better and (rows[column] > 0).all():
        axes.set(**{f"{which}scale": "log"})
        base.label_decades(axes.xaxis if which == "x" else axes.yaxis)


def _plus_minus(mean: float, half: float) -> str:
    """Write a number with its uncertainty, to three digits or two decimals."""
    digits = max(0, min(2, 2 - int(np.floor(np.log10(max(mean, 1e-9))))))
    return f"{mean:.{digits}f}" if pd.isna(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def _table_caption(means: pd.DataFrame, lower: bool) -> str:
    spread = "mean ± half of its 95 % interval over seeds and sets of images"
    if means["seeds"].max() == 1:
        spread = "one seed, so no interval is given"
    elif means["seeds"].min() < 3:
        spread += " (none with one seed, a wide one with two)"
    return (
        f"Last snapshot, after {base.span(means['images_seen'])} training images: {spread}; "
        f"{base.span(means['image_sets'])} sets of {base.span(means['n_samples'])} generated "
        "images, the same noises for all runs. "
        "NFE: network evaluations that the steps really take (of a sampler's own steps in "
        f"brackets). Bold: the {'lowest' if lower else 'highest'} mean of a column within one "
        f"sampler. {'Lower' if lower else 'Higher'} is better."
    )


def _draw_table(
    table: pd.DataFrame, bold: set[tuple[Row, str]], subject: str, caption: str
) -> Figure:
    """Draw the cells, with rules between the blocks; lengths are in inches."""
    label, line = max(1.3, 0.055 * max(len(key[-1]) for key in table.index) + 0.2), 0.17
    widths = [{"seeds": 0.4, base.steps_name(base.OWN): 1.25}.get(name, 0.78) for name in table]
    edges = label + np.cumsum([0, *widths])
    centres = dict(zip(table, (edges[:-1] + edges[1:]) / 2, strict=True))
    right = edges[-1]
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    y = 0.0

    def rule(weight: float) -> None:
        axes.plot([0, right], [y, y], color="black", linewidth=weight)

    def write(x: float, text: str, align: str = "center", **look: Any) -> None:
        axes.text(x, y + line / 2, text, ha=align, va="center", **{"fontsize": 7, **look})

    for metric, block in table.groupby("metric", sort=False):
        write(0, f"{subject}: {metric}", "left", weight="bold")
        y += 1.2 * line
        rule(1.2)
        for name, x in centres.items():
            write(x, name)
        y += line
        for sampler, rows in block.groupby("sampler", sort=False):
            rule(0.6)
            y += 0.15 * line
            for key, cells in rows.iterrows():
                run, small = key[-1], {}
                if run == "NFE":
                    write(0, sampler, "left", style="italic")
                    small = {"color": "0.35", "fontsize": 6.5}
                elif not any(cells):
                    write(0, f"{sampler}: {run}", "left")
                else:
                    write(0.1, run, "left")
                for name, x in centres.items():
                    write(x, cells[name], **({"weight": "bold"} if (key, name) in bold else small))
                y += line
            y += 0.15 * line
        rule(1.2)
        y += line
    wrapped = textwrap.wrap(caption, int(right * 19))
    axes.text(0, y, "\n".join(wrapped), va="top", fontsize=7, linespacing=1.35)
    y += 0.135 * len(wrapped)
    figure.set_size_inches(right, y)
    axes.set(xlim=(0, right), ylim=(y, 0))
    return figure
