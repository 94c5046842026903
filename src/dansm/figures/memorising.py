"""What models remember: who is nearer, training or held-out images, and the nearest of all."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dansm.catalogue import METRICS, SPACES
from dansm.errors import InputError
from dansm.figures import base
from dansm.figures.distances import panel_title
from dansm.figures.samples import Sample
from dansm.io.arrays import read_arrays

_METRICS = [name for name, entry in METRICS.items() if entry.memorising]
_SHOWN = 4  # images of a run, each with its two neighbours
_ROW = 0.46  # inches


@base.style()
def memorising(table: pd.DataFrame, samples: Sequence[Sample], subject: str) -> Figure:
    """Return, for each run, shares of remembered images and the images that look most so.

    Shares are of that sampling of which the images are: the most steps that all sets of images are
    sampled with.

    Parameters
    ----------
    table
        With the columns `dansm.io.tables.SUMMARY_COLUMNS`: the metrics that compare distances to
        training images with those to held-out ones; without a run, of held-out images.
    samples
        Of the comparison's runs, with the images nearest to training images.
    subject
        Of the title.

    Raises
    ------
    InputError
        If there is no row of a run's sampling, or no image of a run.
    """
    titles = base.run_titles(table)
    paths = {sample["run"]: sample["path"] for sample in samples}
    runs = [run for run in titles if run in paths]
    if not runs:
        raise InputError(f"samples: expected runs of {list(titles)}, found {list(paths)}")
    spaces = [name for name in SPACES if name in set(table["feature_extractor"])][::-1]
    looks = {
        space: {"color": color, "marker": marker, "linestyle": "none", "markerfacecolor": face}
        for space, color, marker, face in zip(
            spaces,
            (base.BLUE, *base.COLOURS[2:]),
            ("o", "s", "D", "^"),
            (base.BLUE, "white", base.COLOURS[3], "white"),
            strict=False,
        )
    }
    figure = Figure((7.2, _ROW * len(runs) + 1.5), layout="constrained")
    parts = figure.add_gridspec(len(runs), len(_METRICS) + 1, width_ratios=[1.1, 0.9, 2.1])
    panels = [figure.add_subplot(parts[:, place]) for place in range(len(_METRICS))]
    made_by = {}
    for place, run in enumerate(runs):
        arrays = _nearest(paths[run])
        sampler, _, steps = str(arrays["nearest-of"]).rpartition("-")
        rows = table[(table["run"] == run) & (table["sampler"] == sampler)]
        rows = rows[rows["steps"].fillna(base.OWN) == int(steps)]
        if rows.empty:
            raise InputError(f"table: expected {run} by {sampler}, {steps} steps, found none")
        process = panel_title(rows["process"].iloc[0], sampler)
        made_by[f"{process}, {base.steps_name(int(steps))}"] = None
        for axes, metric in zip(panels, _METRICS, strict=True):
            _draw_shares(axes, rows[rows["metric"] == metric], looks, place)
        _show(figure.add_subplot(parts[place, -1]), arrays, place == 0)
    held_out = table[table["run"].isna()]
    for axes, metric in zip(panels, _METRICS, strict=True):
        of_metric = held_out[held_out["metric"] == metric].groupby("feature_extractor")["mean"]
        for place, (space, look) in enumerate(looks.items()):
            if space in of_metric.groups:
                # Dashes that fall between each other where lines do not.
                dashes = (4 * place, (4, 4))
                value = float(of_metric.get_group(space).mean())
                axes.axvline(value, color=look["color"], linestyle=dashes, linewidth=1.2)
        axes.set(ylim=(len(runs) - 0.5, -0.5), xlabel=METRICS[metric].title)
        axes.set_yticks(range(len(runs)), [])
        axes.set_xlim(left=max(axes.get_xlim()[0], -0.01))  # shares
    panels[0].set_yticks(range(len(runs)), [titles[run] for run in runs])
    handles = [Line2D([], [], label=SPACES[space].title, **look) for space, look in looks.items()]
    line = {"color": base.GREY, "linestyle": (0, (4, 4)), "linewidth": 1.2}
    handles.append(Line2D([], [], label="held-out images themselves", **line))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    seeds = table.loc[table["run"].isin(runs), "seeds"]
    spread = f"{base.span(seeds)} seeds, bars: 95 % intervals"
    if seeds.max() == 1:
        spread = "one seed, so there are no intervals"
    figure.suptitle(
        f"{subject}: nearer to training images than to held-out ones?\n"
        f"{'; '.join(made_by)}; {spread}{base.unequal_note(table)}"
    )
    return figure


def _nearest(path: str) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    images, ratios = (arrays.get(name, np.empty(0)) for name in ("nearest", "nearest-ratios"))
    fits = images.ndim == 5 and images.shape[0] == 3 and images.shape[2] in (1, 3)
    if not fits or ratios.shape != images.shape[1:2] or "nearest-of" not in arrays:
        raise InputError(
            f"{path}: nearest: expected images with their neighbours, shape (3, n, 1 or 3, height, "
            f"width), and n ratios, found {images.shape} and {ratios.shape}"
        )
    low, high = arrays["value_range"].astype(float)
    return arrays | {"nearest": (images - low) / (high - low)}


def _draw_shares(axes: Axes, rows: pd.DataFrame, looks: dict[str, base.Look], place: int) -> None:
    of_space = rows.set_index("feature_extractor").astype({"mean": float})
    offsets = np.linspace(-0.15, 0.15, len(looks)) if len(looks) > 1 else [0.0]
    for (space, look), offset in zip(looks.items(), offsets, strict=True):
        if space in of_space.index:
            row = of_space.loc[space]
            bounds = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
            bar = None if pd.isna(row["low"]) else np.array(bounds, float)
            axes.errorbar([row["mean"]], [place + offset], xerr=bar, capsize=2, **look)


def _show(axes: Axes, arrays: dict[str, np.ndarray], named: bool) -> None:
    """Show a run's images, each beside its nearest training and its nearest held-out image."""
    images = arrays["nearest"][:, :_SHOWN].transpose(1, 0, 3, 4, 2)
    count, _, height, width, channels = images.shape
    gap = max(1, width // 16)
    group = 3 * (width + gap) + 2 * gap
    strip = np.ones((height, count * group - 3 * gap, channels))
    for place in range(count):
        for kind in range(3):
            left = place * group + kind * (width + gap)
            strip[:, left : left + width] = images[place, kind]
    scaling = "nearest" if width <= 64 else "antialiased"
    axes.imshow(strip.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation=scaling)
    middles = [place * group + 1.5 * width + gap for place in range(count)]
    axes.set_xticks(middles, [f"{ratio:.2f}" for ratio in arrays["nearest-ratios"][:count]])
    axes.tick_params(length=0, pad=1, labelsize=6)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if named:
        axes.set_title(
            "generated | nearest training | nearest held-out image;\nbelow: ratio of the distances"
        )
