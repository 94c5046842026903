"""The paper's tables and figures, drawn from result files.

Every function takes what a result file holds and returns a figure; `save_figure` writes it.
"""

import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

from dansm.config import SAMPLERS
from dansm.errors import InputError
from dansm.evaluation.table import read_table
from dansm.files import atomic_path

PROCESS_NAMES = {"rectified_flow": "Rectified flow", "diffusion": "Diffusion"}
SAMPLER_NAMES = {
    "euler": "Euler",
    "heun": "Heun",
    "rk45": "RK45, adaptive steps",
    "ddim_original": "DDIM, original spacing",
    "ddim_trailing": "DDIM, trailing spacing",
}
ADAPTIVE = 0  # stands for the step count of a sampler that chooses its own

_METHOD = ["coupling", "match_size"]
_PANEL = ["feature_extractor", "process", "sampler", "steps"]
_MARKERS = "os^Dvp"
_LINES = ["-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 3))]
_GREY, _BLUE = "0.45", "#0072b2"
_FLOOR: dict[str, Any] = {"color": _GREY, "linestyle": (0, (6, 3)), "linewidth": 1}
_REFERENCES = {
    "real_halves": "Random halves of the real images",
    "reconstruction": "Reconstructions by the autoencoder",
}
_UNSAMPLED = "not sampled"

# Metric, sampler and method: the index of a line of the table of distances.
Row = tuple[str, str, str]


def style() -> AbstractContextManager[None]:
    """Return a context, also usable as a decorator, in which all figures look alike."""
    return matplotlib.rc_context(
        {
            "figure.facecolor": "white",
            "font.family": "DejaVu Sans",
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "0.9",
            "grid.linewidth": 0.6,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 8,
            "legend.frameon": False,
            "lines.linewidth": 1.3,
            "lines.markersize": 3.5,
            "pdf.fonttype": 42,
        }
    )


@style()
def save_figure(figure: Figure, stem: Path) -> None:
    """Write ``STEM.pdf`` and ``STEM.png``; the same figure gives the same bytes."""
    for suffix, options in {
        ".pdf": {"metadata": {"CreationDate": None}},
        ".png": {"dpi": 200},
    }.items():
        with atomic_path(Path(f"{stem}{suffix}")) as partial:
            figure.savefig(partial, bbox_inches="tight", **options)


# Distances


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
        chooses them), coupling and match size: ``mean`` and ``sd`` over seeds (NaN with one seed),
        ``seeds``, ``seed_ranges``, ``n_samples``, ``images_seen``, ``nfe_low`` and ``nfe_high``.
    """
    rows = _frechet(distances)
    rows = rows[rows["process"].isin(PROCESS_NAMES)]
    run = ["process", *_METHOD, "seed"]
    rows = rows[rows["images_seen"] == rows.groupby(run)["images_seen"].transform("max")]
    of_seed = rows.groupby([*_PANEL, *_METHOD, "seed"], as_index=False).agg(
        value=("value", "mean"),
        nfe=("nfe", "mean"),
        seed_ranges=("seed_range", "nunique"),
        n_samples=("n_samples", "min"),
        images_seen=("images_seen", "max"),
    )
    summary = of_seed.groupby([*_PANEL, *_METHOD], as_index=False).agg(
        mean=("value", "mean"),
        sd=("value", "std"),
        seeds=("seed", "nunique"),
        seed_ranges=("seed_ranges", "min"),
        n_samples=("n_samples", "min"),
        images_seen=("images_seen", "max"),
        nfe_low=("nfe", "min"),
        nfe_high=("nfe", "max"),
    )
    return summary.astype({"mean": float, "sd": float, "nfe_low": float, "nfe_high": float})


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
    titles = {steps: _steps_name(steps) for steps in counts}
    cells: dict[Row, dict[str, str]] = {}
    bold: set[tuple[Row, str]] = set()
    for extractor in sorted(summary["feature_extractor"].unique()):
        metric = metric_name(extractor)
        for process, sampler in _samplers(summary, extractor):
            group = _panel(summary, extractor, process, sampler)
            name = f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}"
            columns = group.groupby("steps")
            cells[metric, name, "NFE"] = {
                titles[steps]: f"NFE {_span([*column['nfe_low'], *column['nfe_high']])}"
                for steps, column in columns
            }
            for (match_size, coupling), row in group.groupby(_METHOD[::-1]):
                cells[metric, name, method_name(coupling, match_size)] = {
                    "seeds": _span(row["seeds"])
                }
            for steps, column in columns:
                for line in column.itertuples():
                    key = (metric, name, method_name(line.coupling, line.match_size))
                    cells[key][titles[steps]] = _mean_sd(line.mean, line.sd)
                    if steps == ADAPTIVE:
                        cells[key][titles[steps]] += f" ({_span([line.nfe_low, line.nfe_high])})"
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
def distance_curves(distances: pd.DataFrame) -> Figure:
    """Return the distance against the images seen, for all that is measured at every snapshot.

    Lines are means over seeds, bands their range; the dashed grey line is the distance between
    random halves of the real images.

    Parameters
    ----------
    distances
        As read by `read_distances`.

    Raises
    ------
    InputError
        If nothing is measured at more than one snapshot.
    """
    rows = _frechet(distances)
    curves = rows[rows["process"].isin(PROCESS_NAMES) & (rows["seed_range"] == 0)]
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
    for axes_row, panel in zip(grid, panels, strict=True):
        extractor, process, sampler = panel
        floor = rows[(rows["process"] == "real_halves") & (rows["feature_extractor"] == extractor)]
        for axes, steps in zip(axes_row, counts, strict=True):
            of_panel = _panel(curves, *panel)
            of_panel = of_panel[of_panel["steps"] == steps]
            if of_panel.empty:
                axes.set_visible(False)
                continue
            _draw_curves(axes, of_panel, looks)
            if not floor.empty:
                axes.axhline(floor["value"].mean(), **_FLOOR)
            name = textwrap.fill(f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}", 24)
            axes.set_title(f"{name}\n{_steps_name(steps)} (NFE {_span(of_panel['nfe'])})")
        axes_row[0].set_ylabel(metric_name(extractor).replace(", ", "\n").replace(" f", "\nf"))
    for axes in grid[-1]:
        axes.set_xlabel("Training images seen")
    seeds = curves.groupby(["process", *_METHOD])["seed"].nunique()
    numbers = [
        f"{name.lower()} {_span(seeds[process])}"
        for process, name in PROCESS_NAMES.items()
        if process in seeds
    ]
    title = f"{distances['dataset'].iloc[0]} (number of seeds: {', '.join(numbers)})"
    figure.suptitle(title, fontsize=8, weight="bold")
    handles: list[Any] = [
        Line2D([], [], label=method_name(*method), **look) for method, look in looks.items()
    ]
    if seeds.max() > 1:
        handles.append(Patch(facecolor=_GREY, alpha=0.35, label="min to max over seeds"))
    halves = rows[rows["process"] == "real_halves"]
    if not halves.empty:
        splits = halves["seed_range"].nunique()
        label = f"real halves, mean of {splits} splits of {_span(halves['n_samples'])} images"
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
            count = f"{_span(found['n_samples'])} images"
            if len(found) > 1:
                count = f"{len(found)} splits, {count} each"
            value = _mean_sd(found["value"].mean(), found["value"].std())
            references.append((f"{name} ({count})", value))
    return references


def _steps_name(steps: int) -> str:
    return "adaptive" if steps == ADAPTIVE else f"{steps} step{'s' if steps > 1 else ''}"


def _mean_sd(mean: float, sd: float) -> str:
    return f"{mean:.2f}" if np.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"


def _span(values: Iterable[float]) -> str:
    low, high = (f"{end:,.0f}" for end in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def _table_caption(summary: pd.DataFrame) -> str:
    spread = "one seed, so no standard deviation is given"
    if summary["seeds"].max() > 1:
        spread = "mean ± standard deviation over seeds (none with one seed)"
    ranges = _span(summary["seed_ranges"])
    return (
        f"Last snapshot, after {_span(summary['images_seen'])} training images: {spread}; each "
        f"seed is the mean over {ranges} sets of {_span(summary['n_samples'])} generated images. "
        "NFE: network evaluations that the steps really take (of adaptive steps in brackets). "
        "Bold: the lowest mean of a column within one sampler. Lower is better."
    )


def _draw_table(
    table: pd.DataFrame, bold: set[tuple[Row, str]], dataset: str, caption: str
) -> Figure:
    """Draw the cells, with rules between the blocks; lengths are in inches."""
    label, line = 1.45, 0.19
    columns = table.columns.drop(_UNSAMPLED, errors="ignore")
    widths = [{"seeds": 0.55, _steps_name(ADAPTIVE): 1.4}.get(name, 0.92) for name in columns]
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
        axes.text(x, y + line / 2, text, ha=align, va="center", **look)

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
                        look = {"color": "0.35", "fontsize": 7}
                    write(x, cells[name], **look)
                y += line
            y += 0.15 * line
        rule(1.2)
        y += line
    wrapped = textwrap.wrap(caption, int(right * 19.5))
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
    axes: Axes, curves: pd.DataFrame, looks: dict[tuple[str, int], dict[str, Any]]
) -> None:
    for (match_size, coupling), rows in curves.groupby(_METHOD[::-1]):
        look = looks[coupling, match_size]
        values = rows.groupby("images_seen")["value"].agg(["mean", "min", "max"])
        axes.plot(values.index.astype(int), values["mean"], **look)
        if rows["seed"].nunique() > 1:
            band = (values.index.astype(int), values["min"], values["max"])
            axes.fill_between(*band, color=look["color"], alpha=0.25, linewidth=0)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


# Images


class Samples(NamedTuple):
    """Images, shape ``(n, channels, height, width)``, values in [0, 1], and evaluations of each."""

    images: np.ndarray
    nfe: float


def read_samples(path: Path, sampler: str, steps: Sequence[int]) -> dict[int, Samples]:
    """Read a run's first samples, by step count.

    Raises
    ------
    InputError
        If the file is missing, or samples of a step count are missing or have another shape.
    """
    keys = {count: f"{sampler}-{count}" for count in steps}
    names = [*keys.values(), *(f"{key}-nfe" for key in keys.values())]
    file = _read_arrays(path, ["value_range", *names])
    low, high = file["value_range"]
    samples = {}
    for count, key in keys.items():
        images = file[key]
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise InputError(
                f"{path}: {key}: expected grey or colour images of shape "
                f"(n, 1 or 3, height, width), found {images.shape}"
            )
        samples[count] = Samples((images - low) / (high - low), float(file[f"{key}-nfe"]))
    return samples


@style()
def sample_grid(
    grids: dict[tuple[int, int], Samples],
    *,
    dataset: str,
    process: str,
    sampler: str,
    seed: int,
    images_a_side: int = 4,
) -> Figure:
    """Return samples of the same noises, a mosaic for each match size (columns) and steps (rows).

    Parameters
    ----------
    grids
        By match size (0: vanilla) and steps, as returned by `read_samples`; image k of each is made
        from noise k.
    dataset, process, sampler, seed
        Of the runs; named in the title.
    images_a_side
        Each mosaic shows the first ``images_a_side ** 2`` images.
    """
    match_sizes = sorted({match_size for match_size, _ in grids})
    counts = sorted({steps for _, steps in grids})
    figure = Figure(figsize=(1.6 * len(match_sizes) + 0.6, 1.6 * len(counts) + 0.6))
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.06)
    all_axes = figure.subplots(len(counts), len(match_sizes), squeeze=False)
    for axes_row, steps in zip(all_axes, counts, strict=True):
        for axes, match_size in zip(axes_row, match_sizes, strict=True):
            mosaic = _mosaic(grids[match_size, steps].images, images_a_side)
            axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        nfe = _span([grids[match_size, steps].nfe for match_size in match_sizes])
        axes_row[0].set_ylabel(f"{_steps_name(steps)}\n(NFE {nfe})")
    for axes, match_size in zip(all_axes[0], match_sizes, strict=True):
        axes.set_title(f"Match size {match_size:,}" if match_size else "Vanilla")
    name = f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}"
    figure.suptitle(f"{dataset}: {name}, seed {seed}", fontsize=8, weight="bold")
    return figure


def _mosaic(images: np.ndarray, side: int) -> np.ndarray:
    """Join the first images to an array (height, width[, 3]), one white pixel between them."""
    if len(images) < side**2:
        raise InputError(f"samples: expected at least {side**2} images, found {len(images)}")
    framed = np.pad(images[: side**2], [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=1)
    rows = framed.reshape(side, side, *framed.shape[1:]).transpose(0, 3, 1, 4, 2)
    return rows.reshape(side * framed.shape[2], -1, framed.shape[1])[:-1, :-1].squeeze()


# Noise-sample pairs


def count_crossings(starts: np.ndarray, ends: np.ndarray) -> int:
    """Count the pairs of plane segments that properly cross each other.

    Parameters
    ----------
    starts, ends
        Arrays of shape ``(n, 2)``; segment i runs from ``starts[i]`` to ``ends[i]``. Segments that
        only touch at an end point do not count.
    """

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
            - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    i, j = np.triu_indices(len(starts), k=1)
    a, b, c, d = starts[i], ends[i], starts[j], ends[j]
    crosses = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return int(crosses.sum())


class NoiseSamplePairs(NamedTuple):
    """Samples with two kinds of noise, all of shape ``(draws, pairs, channels, height, width)``."""

    samples: np.ndarray
    random: np.ndarray
    matched: np.ndarray
    match_size: int


def read_pairs(path: Path) -> NoiseSamplePairs:
    """Read the pairs of the t-SNE figure.

    Raises
    ------
    InputError
        If the file or one of its arrays is missing, or the arrays differ in shape.
    """
    file = _read_arrays(path, list(NoiseSamplePairs._fields))
    shapes = {name: file[name].shape for name in ("samples", "random", "matched")}
    if len(set(shapes.values())) > 1 or file["samples"].ndim != 5:
        raise InputError(
            f"{path}: expected arrays of one shape (draws, pairs, channels, height, width), "
            f"found {shapes}"
        )
    return NoiseSamplePairs(**file | {"match_size": int(file["match_size"])})


@style()
def noise_sample_tsne(
    pairs: NoiseSamplePairs, *, dataset: str, perplexity: float, random_state: int = 0
) -> Figure:
    """Return the joint t-SNE of samples and noises, random and matched noises side by side.

    The first draw is shown; crossings of the lines are counted in every draw's own embedding.

    Parameters
    ----------
    pairs
        As read by `read_pairs`.
    dataset
        Named in the title.
    perplexity
        Of t-SNE; below twice the number of pairs.
    random_state
        Seed of t-SNE.

    Raises
    ------
    InputError
        If the perplexity is too large.
    """
    # Takes seconds to import, and only this figure needs it.
    from sklearn.manifold import TSNE

    draws, count = pairs.samples.shape[:2]
    if perplexity >= 2 * count:
        raise InputError(f"perplexity: expected less than {2 * count} points, found {perplexity}")
    figure = Figure(figsize=(6.6, 4), layout="constrained")
    kinds = {
        "Random noise": pairs.random,
        f"Matched noise, match size {pairs.match_size:,}": pairs.matched,
    }
    for axes, (name, noises) in zip(figure.subplots(1, 2), kinds.items(), strict=True):
        crossings = []
        for draw in range(draws):
            points = np.concatenate([pairs.samples[draw], noises[draw]]).reshape(2 * count, -1)
            tsne = TSNE(
                init="pca", method="exact", perplexity=perplexity, random_state=random_state
            )
            sample_points, noise_points = tsne.fit_transform(points).reshape(2, count, 2)
            crossings.append(count_crossings(noise_points, sample_points))
            if draw == 0:
                _draw_pairs(axes, sample_points, noise_points)
        title = f"{name}\n{crossings[0]} crossings"
        if draws > 1:
            spread = f"{np.mean(crossings):.1f} ± {np.std(crossings, ddof=1):.1f}"
            title += f" (mean ± sd of {draws} draws: {spread})"
        axes.set_title(title)
    title = f"{dataset}: t-SNE of {count} noise-sample pairs, perplexity {perplexity:g}"
    figure.suptitle(title, fontsize=8, weight="bold")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_pairs(axes: Axes, samples: np.ndarray, noises: np.ndarray) -> None:
    segments = LineCollection(
        np.stack([noises, samples], 1), colors=_GREY, linestyles="--", linewidths=0.8, label="pair"
    )
    axes.add_collection(segments)
    axes.scatter(*noises.T, s=16, facecolor="white", edgecolor="black", zorder=3, label="noise")
    axes.scatter(*samples.T, s=18, marker="s", color=_BLUE, zorder=3, label="sample")
    axes.set(xlabel="t-SNE dimension 1 (no unit)", ylabel="t-SNE dimension 2 (no unit)")
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(visible=False)


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(path) as file:
            missing = sorted(set(names) - set(file))
            if missing:
                raise InputError(f"{path}: expected arrays {list(names)}, found {sorted(file)}")
            arrays = {name: file[name] for name in names}
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected arrays {list(names)}, found no file") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise InputError(f"{path}: {name}: expected finite numbers, found others")
    return arrays
