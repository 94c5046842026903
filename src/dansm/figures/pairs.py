"""Random, matched and preferable noises of the same samples: t-SNE, paths, nearest, loss."""

import itertools
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from dansm.errors import InputError
from dansm.figures.base import BLUE, GREY, Look, coupling_title, style
from dansm.io.arrays import read_arrays
from dansm.metrics.intervals import half_width

_ORDER = ["random", "matched", "preferable"]
_QUANTITIES = {
    "path_length": "Path length ‖x − z‖",
    "inter_path_average": "Inter-path distance, average",
    "inter_path_minimum": "Inter-path distance, minimum",
}
_MATCHED_MARKERS = "sD^vP"


@style()
def noise_sample_tsne(crossings: pd.DataFrame, embedding: str | Path, subject: str) -> Figure:
    """Return the joint t-SNE of samples and noises, a panel for each kind of noise.

    Of matched noises those of the largest match size are shown.

    Parameters
    ----------
    crossings
        With the columns `dansm.io.tables.CROSSING_COLUMNS`: the titles' numbers; that of draw 0 is
        of the t-SNE shown.
    embedding
        File with the points of the t-SNE shown.
    subject
        Of the title.

    Raises
    ------
    InputError
        If the points of a kind are missing, or are not those of so many pairs.
    """
    largest = crossings["match_size"].max()
    shown = crossings[(crossings["kind"] != "matched") | (crossings["match_size"] == largest)]
    kinds = _kinds(shown)
    points = read_arrays(embedding, [f"{name}-{size}" for name, size in kinds])
    pairs, perplexity = int(crossings["pairs"].iloc[0]), float(crossings["perplexity"].iloc[0])
    figure = Figure(figsize=(2.6 * len(kinds), 3.6), layout="constrained")
    for axes, (name, size) in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
        place = points[f"{name}-{size}"]
        if place.shape != (2, pairs, 2):
            raise InputError(
                f"{embedding}: {name}-{size}: expected points of shape {(2, pairs, 2)}, "
                f"found {place.shape}"
            )
        _draw_pairs(axes, *place)
        rows = shown[(shown["kind"] == name) & (shown["match_size"] == size)]
        counts = rows.set_index("draw")["crossings"].astype(float)
        title = f"{_noises(name, size)}\n{counts[0]:.0f} crossings"
        if len(counts) > 1:
            title += f" (mean of {len(counts)}: {counts.mean():.1f})"
        axes.set_title(title)
    title = f"{subject}: t-SNE of {pairs} noise-sample pairs, perplexity {perplexity:g}"
    figure.suptitle(f"{title}\n{_origin(crossings)}")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_pairs(axes: Axes, samples: np.ndarray, noises: np.ndarray) -> None:
    segments = LineCollection(
        np.stack([noises, samples], 1), colors=GREY, linestyles="--", linewidths=0.8, label="pair"
    )
    axes.add_collection(segments)
    axes.scatter(*noises.T, s=16, facecolor="white", edgecolor="black", zorder=3, label="noise")
    axes.scatter(*samples.T, s=18, marker="s", color=BLUE, zorder=3, label="sample")
    axes.set(xlabel="t-SNE dimension 1 (no unit)", ylabel="t-SNE dimension 2 (no unit)")
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(visible=False)


@style()
def path_geometry(paths: pd.DataFrame, subject: str) -> Figure:
    """Return path length and inter-path distance by kind of noise, and one against the other.

    Parameters
    ----------
    paths
        With the columns `dansm.io.tables.PATH_COLUMNS`.
    subject
        Of the title.
    """
    kinds = _kinds(paths)
    looks = _looks(kinds)
    figure = Figure(figsize=(6.6, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    tops = [figure.add_subplot(grid[0, 2 * k : 2 * k + 2]) for k in range(3)]
    for axes, (quantity, label) in zip(tops, _QUANTITIES.items(), strict=True):
        for place, kind in enumerate(kinds):
            values = _values(paths, kind, quantity)
            axes.plot(np.full(len(values), place + 0.22), values, ".", color=GREY, markersize=3)
            mean, half = _mean(paths, kind, quantity)
            axes.errorbar(place, mean, half, **looks[kind], capsize=3)
        axes.set_xticks(range(len(kinds)), [_name(*kind) for kind in kinds], rotation=90)
        axes.set(xlim=(-0.6, len(kinds) - 0.4), title=label)
    tops[0].set_ylabel("Distance (Euclidean)")
    for k, quantity in enumerate(("inter_path_average", "inter_path_minimum")):
        axes = figure.add_subplot(grid[1, 3 * k : 3 * k + 3])
        means = []
        for kind in kinds:
            (x, of_x), (y, of_y) = (_mean(paths, kind, q) for q in ("path_length", quantity))
            means.append((x, y))
            axes.errorbar(x, y, of_y, of_x, **looks[kind], capsize=2)
        correlation = np.corrcoef(means, rowvar=False)[0, 1]
        axes.set_xlabel(_QUANTITIES["path_length"])
        axes.set_ylabel(_QUANTITIES[quantity])
        axes.set_title(f"Correlation over kinds {correlation:+.2f}".replace("-", "−"))
    handles = [Line2D([], [], label=_name(*kind), **looks[kind]) for kind in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds))
    draws, pairs = paths["draw"].nunique(), paths[paths["quantity"] == "path_length"]["pairs"].max()
    figure.suptitle(f"{subject}: paths of {draws} draws of {pairs:,} pairs\n{_origin(paths)}")
    return figure


@style()
def nearest_share(paths: pd.DataFrame, subject: str) -> Figure:
    """Return how often a sample's noise is the nearest of its batch, against batch size.

    Parameters
    ----------
    paths
        With the columns `dansm.io.tables.PATH_COLUMNS`.
    subject
        Of the title.
    """
    shares, looks = paths[paths["quantity"] == "nearest_share"], _looks(_kinds(paths))
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes = sorted(shares["pairs"].unique().tolist())
    for kind in _kinds(shares):
        found = [_mean(shares[shares["pairs"] == size], kind, "nearest_share") for size in sizes]
        means, errors = 100 * np.array(found).T
        look = looks[kind] | {"linestyle": "-", "label": _name(*kind)}
        axes.errorbar(sizes, means, errors, capsize=3, **look)
    look = {"color": "0.6", "linestyle": (0, (3, 2)), "linewidth": 2.2, "zorder": 4}
    axes.plot(sizes, [100 / size for size in sizes], label="chance, 1 / batch size", **look)
    axes.set(xscale="log", xlabel="Batch size", ylabel="Own noise is the nearest (%)")
    axes.set_ylim(0, 103)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle(f"{subject}: nearest noises\n{_origin(paths)}")
    return figure


@style()
def loss_over_time(losses: pd.DataFrame, paths: pd.DataFrame, subject: str) -> Figure:
    """Return the loss of trained models over time by kind of noise, a panel for each model.

    Parameters
    ----------
    losses
        With the columns `dansm.io.tables.LOSS_COLUMNS`.
    paths
        With ``PATH_COLUMNS``: the matched noises are those of its largest match size.
    subject
        Of the title.
    """
    match_size = paths.loc[paths["kind"] == "matched", "match_size"].max()
    keys = ["run", "coupling", "match_size", "seed"]
    models = list(losses.groupby(keys, sort=False))
    figure = Figure(figsize=(0.6 + 3 * len(models), 3.4), layout="constrained")
    panels = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    lines = {"random": "--", "matched": "-.", "preferable": "-"}
    looks = _looks([("random", 0), ("matched", match_size), ("preferable", 0)])
    for axes, ((_, coupling, trained, seed), rows) in zip(panels, models, strict=True):
        for kind, look in looks.items():
            of_kind = rows[rows["kind"] == kind[0]].sort_values("t_low")
            numbers = of_kind[["t_low", "t_high", "loss", "standard_error"]].to_numpy(float)
            low, high, loss, error = numbers.T
            middle, ends = (low + high) / 2, (loss - 1.96 * error, loss + 1.96 * error)
            axes.fill_between(middle, *ends, color=look["color"], alpha=0.2, linewidth=0)
            axes.plot(middle, loss, **look | {"linestyle": lines[kind[0]]}, label=_noises(*kind))
        axes.set_title(f"Model trained: {coupling_title(coupling, trained).lower()}, seed {seed}")
        axes.set(xlabel="Time t (0: noise, 1: sample)", xlim=(0, 1))
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("Squared error of the velocity\nper dimension")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    pairs = losses["pairs"].iloc[0]
    figure.suptitle(f"{subject}: loss on {pairs:,} samples that each model generates itself")
    return figure


def _kinds(table: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the kinds of noise in a table with their match sizes, 0 but for matched ones.

    Raises
    ------
    InputError
        If there are none, or others.
    """
    unknown = sorted(set(table["kind"]) - set(_ORDER))
    if unknown or table.empty:
        raise InputError(f"pairs: expected kinds of {_ORDER}, found {unknown or 'no rows'}")
    found = set(zip(table["kind"], table["match_size"].astype(int), strict=True))
    return sorted(found, key=lambda kind: (_ORDER.index(kind[0]), kind[1]))


def _origin(table: pd.DataFrame) -> str:
    """Say whose samples the pairs are of: without a model no noise is preferable."""
    if (table["kind"] == "preferable").any():
        models = table["seed"].nunique()
        over = f"; bars: 95 % intervals over {models} models" if models > 1 else ""
        return f"samples that {'models generate' if models > 1 else 'a model generates'}{over}"
    return "stored samples: no model was trained on them, so no noise is preferable"


def _name(kind: str, match_size: int) -> str:
    return f"matched, {match_size:,}" if kind == "matched" else kind


def _noises(kind: str, match_size: int) -> str:
    return f"{kind} noises" + (f", match size {match_size:,}" if match_size else "")


def _looks(kinds: list[tuple[str, int]]) -> dict[tuple[str, int], Look]:
    """Return colour and marker by kind; matched ones are darker the larger the match size."""
    fixed = {"random": ("black", "o", 4.5), "preferable": ("#d55e00", "*", 8)}
    matched = sum(name == "matched" for name, _ in kinds)
    shades = iter(matplotlib.colormaps["viridis"](np.linspace(0.65, 0.15, matched)))
    markers = itertools.cycle(_MATCHED_MARKERS)
    looks = {}
    for kind in kinds:
        color, marker, size = fixed.get(kind[0]) or (next(shades), next(markers), 4.5)
        looks[kind] = {"color": color, "marker": marker, "markersize": size, "linestyle": "none"}
    return looks


def _mean(table: pd.DataFrame, kind: tuple[str, int], quantity: str) -> tuple[float, float]:
    """Return a quantity's mean, and half of its interval over models, of one or none over draws."""
    name, size = kind
    rows = table[(table["kind"] == name) & (table["match_size"] == size)]
    rows = rows[rows["quantity"] == quantity]
    by = "seed" if rows["seed"].nunique() > 1 else "draw"
    values = rows["value"].astype(float).groupby(rows[by]).mean()
    return values.mean(), half_width(values)


def _values(table: pd.DataFrame, kind: tuple[str, int], quantity: str) -> np.ndarray:
    """Return a quantity of a kind of noise in all draws."""
    name, size = kind
    rows = table[(table["kind"] == name) & (table["match_size"] == size)]
    return rows[rows["quantity"] == quantity].sort_values("draw")["value"].to_numpy(float)
