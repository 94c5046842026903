"""Distances of generated samples: the paper's tables and training curves."""

import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from dansm.config import SAMPLERS
from dansm.errors import InputError
from dansm.figures.base import (
    ADAPTIVE,
    GREY,
    PROCESS_NAMES,
    SAMPLER_NAMES,
    label_decades,
    span,
    steps_name,
    style,
)
from dansm.io.tables import SECONDS, read_table
from dansm.metrics.image_sets import final_distances
from dansm.metrics.intervals import half_width

_METHOD = ["coupling", "match_size"]
_PANEL = ["feature_extractor", "process", "sampler", "steps"]
_MARKERS = "os^Dvp"
_LINES = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 3))]
_FLOOR: dict[str, Any] = {"color": GREY, "linestyle": (0, (6, 3)), "linewidth": 1}
_REFERENCES = {
    "real_halves": "Random halves of the real images",
    "reconstruction": "Reconstructions by the autoencoder",
}
_FAR = 10  # times below all curves
_UNSAMPLED = "not sampled"

# Metric, sampler and method: the index of a line of the table of distances.
Row = tuple[str, str, str]


def read_distances(path: Path, dataset: str) -> pd.DataFrame:
    """Read a dataset's rows of a table of distances.

    Raises
    ------
    InputError
        If the file is missing, has other columns, values that don't fit them, or no rows of the
        dataset.
    """
    distances = read_table(path)
    rows = distances[distances["dataset"] == dataset]
    if rows.empty:
        found = sorted(distances["dataset"].unique())
        raise InputError(
            f"{path}: expected rows of the dataset {dataset!r}, found those of {found}"
        )
    return rows


def metric_name(feature_extractor: str) -> str:
    """Name the Fréchet distance over an extractor's features; only Inception's is an FID."""
    name = "FID" if feature_extractor.startswith("inception") else "Fréchet distance"
    return f"{name}, {feature_extractor} features"


def summarise_distances(distances: pd.DataFrame) -> pd.DataFrame:
    """Average the Fréchet distances of each run's last snapshot over seed ranges, then seeds.

    Parameters
    ----------
    distances
        As read by `read_distances`.

    Returns
    -------
    pandas.DataFrame
        One row per feature extractor, process, sampler, steps (`ADAPTIVE` where the sampler
        chooses them), coupling and match size: ``mean`` over seeds, ``half`` the width of its
        Student 95 % interval (NaN with one seed), ``seeds``, ``seed_ranges``, ``n_samples``,
        ``images_seen``, ``nfe_low`` and ``nfe_high``.
    """
    rows = _frechet(final_distances(distances))
    of_seed = rows.groupby([*_PANEL, *_METHOD, "seed"], as_index=False).agg(
        value=("value", "mean"),
        nfe=("nfe", "mean"),
        seed_ranges=("seed_range", "nunique"),
        n_samples=("n_samples", "min"),
        images_seen=("images_seen", "max"),
    )
    summary = of_seed.groupby([*_PANEL, *_METHOD], as_index=False).agg(
        mean=("value", "mean"),
        half=("value", half_width),
        seeds=("seed", "nunique"),
        seed_ranges=("seed_ranges", "min"),
        n_samples=("n_samples", "min"),
        images_seen=("images_seen", "max"),
        nfe_low=("nfe", "min"),
        nfe_high=("nfe", "max"),
    )
    return summary.astype({"mean": float, "half": float, "nfe_low": float, "nfe_high": float})


@style()
def distance_table(distances: pd.DataFrame) -> tuple[pd.DataFrame, Figure]:
    """Return the table of distances at the last snapshot, as text and drawn.

    Parameters
    ----------
    distances
        As read by `read_distances`.

    Returns
    -------
    table : pandas.DataFrame
        Cells as printed, indexed by metric, sampler and method. The first row of each sampler
        holds its true number of network evaluations (NFE).
    figure : matplotlib.figure.Figure
        The same, with the lowest mean of each column within a sampler in bold.

    Raises
    ------
    InputError
        If there are no distances of generated samples.
    """
    summary = summarise_distances(distances)
    if summary.empty:
        raise InputError("distances: expected Fréchet distances of generated samples, found none")
    counts = sorted(summary["steps"].unique(), key=lambda steps: (steps == ADAPTIVE, steps))
    titles = {steps: steps_name(steps) for steps in counts}
    cells: dict[Row, dict[str, str]] = {}
    bold: set[tuple[Row, str]] = set()
    for extractor in sorted(summary["feature_extractor"].unique()):
        metric = metric_name(extractor)
        for process, sampler in _samplers(summary, extractor):
            group = _panel(summary, extractor, process, sampler)
            name = f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}"
            columns = group.groupby("steps")
            cells[metric, name, "NFE"] = {
                titles[steps]: f"NFE {span([*column['nfe_low'], *column['nfe_high']])}"
                for steps, column in columns
            }
            for (match_size, coupling), row in group.groupby(_METHOD[::-1]):
                cells[metric, name, method_name(coupling, match_size)] = {
                    "seeds": span(row["seeds"])
                }
            for steps, column in columns:
                for line in column.itertuples():
                    key = (metric, name, method_name(line.coupling, line.match_size))
                    cells[key][titles[steps]] = _plus_minus(line.mean, line.half)
                    if steps == ADAPTIVE:
                        cells[key][titles[steps]] += f" ({span([line.nfe_low, line.nfe_high])})"
                    if len(column) > 1 and line.mean == column["mean"].min():
                        bold.add((key, titles[steps]))
        for name, value in _references(distances, extractor):
            cells[metric, "Reference", name] = {_UNSAMPLED: value}
    table = pd.DataFrame(list(cells.values())).fillna("")
    table.index = pd.MultiIndex.from_tuples(cells, names=["metric", "sampler", "method"])
    dataset = distances["dataset"].iloc[0]
    table = table[[name for name in ("seeds", *titles.values(), _UNSAMPLED) if name in table]]
    return table, _draw_table(table, bold, dataset, _table_caption(summary))


@style()
def distance_curves(distances: pd.DataFrame, times: pd.DataFrame | None = None) -> Figure:
    """Return the distance along training, for all that is measured at every snapshot.

    Lines are means over seeds, bands their range; the dashed grey line is the distance between
    random halves of the real images, whose number alone is given where the line would be far below.

    Parameters
    ----------
    distances
        As read by `read_distances`.
    times
        As read by `dansm.analysis.ablation.read_ablation`: then against the time of training,
        the mean over seeds until each snapshot; without, against the images seen.

    Raises
    ------
    InputError
        If nothing is measured at more than one snapshot.
    """
    rows = _frechet(distances)
    curves = rows if times is None else _frechet(times)
    curves = curves[curves["process"].isin(PROCESS_NAMES) & (curves["seed_range"] == 0)]
    curves = curves[curves.groupby(_PANEL)["images_seen"].transform("nunique") > 1]
    if curves.empty:
        raise InputError("distances: expected Fréchet distances of several snapshots, found none")
    panels = [
        (extractor, process, sampler)
        for extractor in sorted(curves["feature_extractor"].unique())
        for process, sampler in _samplers(curves, extractor)
    ]
    counts = sorted(curves["steps"].unique())
    looks = _looks(curves)
    size = (1.7 * len(counts) + 0.5, 2.1 * len(panels) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(panels), len(counts), sharex=True, sharey="row", squeeze=False)
    below: set[str] = set()
    for axes_row, panel in zip(grid, panels, strict=True):
        extractor, process, sampler = panel
        floor = rows[(rows["process"] == "real_halves") & (rows["feature_extractor"] == extractor)]
        for axes, steps in zip(axes_row, counts, strict=True):
            of_panel = _panel(curves, *panel)
            of_panel = of_panel[of_panel["steps"] == steps]
            if of_panel.empty:
                axes.set_visible(False)
                continue
            _draw_curves(axes, of_panel, looks, "images_seen" if times is None else SECONDS)
            if floor["value"].mean() > _panel(curves, *panel)["value"].min() / _FAR:
                axes.axhline(floor["value"].mean(), **_FLOOR)
            elif not floor.empty:
                below.add(f"{floor['value'].mean():.2g}")
            name = textwrap.fill(f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}", 24)
            axes.set_title(f"{name}\n{steps_name(steps)} (NFE {span(of_panel['nfe'])})")
        axes_row[0].set_ylabel(metric_name(extractor).replace(", ", "\n").replace(" f", "\nf"))
    for axes in grid[-1]:
        axes.set_xlabel("Training images seen" if times is None else "Training time (s)")
    seeds = curves.groupby(["process", *_METHOD])["seed"].nunique()
    numbers = [
        f"{name.lower()} {span(seeds[process])}"
        for process, name in PROCESS_NAMES.items()
        if process in seeds
    ]
    title = f"{distances['dataset'].iloc[0]} (number of seeds: {', '.join(numbers)})"
    figure.suptitle(title, fontsize=8, weight="bold")
    handles: list[Any] = [
        Line2D([], [], label=method_name(*method), **look) for method, look in looks.items()
    ]
    if seeds.max() > 1:
        handles.append(Patch(facecolor=GREY, alpha=0.35, label="min to max over seeds"))
    halves = rows[rows["process"] == "real_halves"]
    if not halves.empty:
        splits = halves["seed_range"].nunique()
        label = f"real halves, mean of {splits} splits of {span(halves['n_samples'])} images"
        if below:
            label += f":\n{', '.join(sorted(below))}, below the axes"
        handles.append(Line2D([], [], label=label, **_FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=(len(handles) + 1) // 2)
    return figure


def method_name(coupling: str, match_size: int) -> str:
    """Name a coupling with its match size."""
    if match_size == 0:
        return "Vanilla" if coupling == "independent" else coupling
    size = f"match size {match_size:,}"
    return size.capitalize() if coupling == "greedy" else f"{coupling}, {size}"


def _frechet(distances: pd.DataFrame) -> pd.DataFrame:
    rows = distances[distances["metric"] == "frechet_distance"]
    return rows.assign(steps=rows["steps"].fillna(ADAPTIVE), value=rows["value"].astype(float))


def _samplers(rows: pd.DataFrame, extractor: str) -> list[tuple[str, str]]:
    rows = rows[rows["feature_extractor"] == extractor]
    found = set(zip(rows["process"], rows["sampler"], strict=True))
    return [
        (process, sampler)
        for process in PROCESS_NAMES
        for sampler in SAMPLERS[process]
        if (process, sampler) in found
    ]


def _panel(rows: pd.DataFrame, extractor: str, process: str, sampler: str) -> pd.DataFrame:
    return rows[
        (rows["feature_extractor"] == extractor)
        & (rows["process"] == process)
        & (rows["sampler"] == sampler)
    ]


def _references(distances: pd.DataFrame, extractor: str) -> list[tuple[str, str]]:
    rows = _frechet(distances)
    rows = rows[rows["feature_extractor"] == extractor]
    references = []
    for process, name in _REFERENCES.items():
        found = rows[rows["process"] == process]
        if not found.empty:
            count = f"{span(found['n_samples'])} images"
            if len(found) > 1:
                count = f"{len(found)} splits, {count} each"
            value = _plus_minus(found["value"].mean(), half_width(found["value"]))
            references.append((f"{name} ({count})", value))
    return references


def _plus_minus(mean: float, half: float) -> str:
    """Write a number with its uncertainty, to three digits or two decimals."""
    digits = max(0, min(2, 2 - int(np.floor(np.log10(max(mean, 1e-9))))))
    return f"{mean:.{digits}f}" if np.isnan(half) else f"{mean:.{digits}f} ± {half:.{digits}f}"


def _table_caption(summary: pd.DataFrame) -> str:
    spread = "one seed, so no interval is given"
    if summary["seeds"].max() > 1:
        spread = "mean ± half of Student's 95 % interval over seeds (none with one seed"
        spread += ", a wide one with two)" if summary["seeds"].min() < 3 else ")"
    ranges = span(summary["seed_ranges"])
    if summary["seed_ranges"].nunique() > 1:
        ranges += " (fewer: corrected by what those sets add where all were measured)"
    return (
        f"Last snapshot, after {span(summary['images_seen'])} training images: {spread}; each "
        f"seed is the mean over {ranges} sets of {span(summary['n_samples'])} generated images. "
        "NFE: network evaluations that the steps really take (of adaptive steps in brackets). "
        "Bold: the lowest mean of a column within one sampler. Lower is better."
    )


def _draw_table(
    table: pd.DataFrame, bold: set[tuple[Row, str]], dataset: str, caption: str
) -> Figure:
    """Draw the cells, with rules between the blocks; lengths are in inches."""
    label, line = 1.3, 0.17
    columns = table.columns.drop(_UNSAMPLED, errors="ignore")
    widths = [{"seeds": 0.4, steps_name(ADAPTIVE): 1.15}.get(name, 0.78) for name in columns]
    edges = label + np.cumsum([0, *widths])
    centres = dict(zip(columns, (edges[:-1] + edges[1:]) / 2, strict=True))
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
        write(0, f"{dataset}: {metric}", "left", weight="bold")
        y += 1.2 * line
        rule(1.2)
        for name, x in centres.items():
            write(x, name)
        y += line
        for sampler, rows in block.groupby("sampler", sort=False):
            rule(0.6)
            y += 0.15 * line
            for key, cells in rows.iterrows():
                method = key[-1]
                if method == "NFE":
                    write(0, sampler, "left", style="italic")
                elif sampler == "Reference":
                    write(0, f"{method}: {cells[_UNSAMPLED]}", "left")
                else:
                    write(0.1, method, "left")
                for name, x in centres.items():
                    look: dict[str, Any] = {"weight": "bold"} if (key, name) in bold else {}
                    if method == "NFE":
                        look = {"color": "0.35", "fontsize": 6.5}
                    write(x, cells[name], **look)
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


def _looks(curves: pd.DataFrame) -> dict[tuple[str, int], dict[str, Any]]:
    """Return each method's line: shades by the logarithm of match size, and its own marker."""
    methods = sorted(set(zip(curves["coupling"], curves["match_size"], strict=True)), key=_order)
    largest = max(2, *(match_size for _, match_size in methods))
    return {
        (coupling, match_size): {
            # The lightest fifth of the palette is too pale on white.
            "color": matplotlib.colormaps["viridis"](
                0.8 * np.log(max(match_size, 1)) / np.log(largest)
            ),
            "marker": _MARKERS[k % len(_MARKERS)],
            "linestyle": _LINES[k % len(_LINES)],
        }
        for k, (coupling, match_size) in enumerate(methods)
    }


def _order(method: tuple[str, int]) -> tuple[int, str]:
    return method[1], method[0]


def _draw_curves(
    axes: Axes, curves: pd.DataFrame, looks: dict[tuple[str, int], dict[str, Any]], by: str
) -> None:
    for (match_size, coupling), rows in curves.groupby(_METHOD[::-1]):
        look = looks[coupling, match_size]
        of_snapshot = rows.groupby("images_seen")
        values = of_snapshot["value"].agg(["mean", "min", "max"])
        places = values.index if by == "images_seen" else of_snapshot[by].mean()
        places = np.asarray(places, float)
        axes.plot(places, values["mean"], **look)
        if rows["seed"].nunique() > 1:
            band = (places, values["min"], values["max"])
            axes.fill_between(*band, color=look["color"], alpha=0.25, linewidth=0)
    axes.set_yscale("log")
    label_decades(axes.yaxis)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
