"""Training speed: the saving at the quality of the vanilla run's end."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dansm.errors import InputError
from dansm.figures.base import PROCESS_NAMES, SAMPLER_NAMES, span, steps_name, style
from dansm.figures.distances import method_name, metric_name
from dansm.io.tables import SPEED_COLUMNS, read_table

_PANEL = ["feature_extractor", "process", "sampler"]
_METHOD = ["coupling", "match_size"]
_CLAIM = (30, 40)  # per cent, the paper's
_RANGE = (-55, 102)  # per cent, what is shown
# Of images and of seconds: the columns' beginning, name, place beside the line, look.
_COUNTED: list[tuple[str, str, float, dict[str, Any]]] = [
    ("saving", "Images", -0.17, {"color": "black", "marker": "o", "markerfacecolor": "black"}),
    ("seconds_saving", "Time", 0.17, {"color": "#0072b2", "marker": "s", "markerfacecolor": "w"}),
]


def read_speed(path: Path) -> pd.DataFrame:
    """Read a table of training speed.

    Raises
    ------
    InputError
        If the file is missing, or has other columns or values that don't fit them.
    """
    return read_table(path, SPEED_COLUMNS, "training speed")


@style()
def saving_figure(speed: pd.DataFrame) -> Figure:
    """Return the savings in images and in time, a line a method, a column a step count.

    Thick bars are bootstrap intervals, thin ones Student's. An arrow instead of a marker means at
    least so much; a cross at the edge, that a seed never reaches vanilla's final distance.

    Parameters
    ----------
    speed
        As read by `read_speed`.

    Raises
    ------
    InputError
        If there is no method beside vanilla.
    """
    rows = speed[speed["coupling"] != "independent"]
    if rows.empty:
        raise InputError("training speed: expected methods beside vanilla, found none")
    panels = [key for key, _ in rows.groupby(_PANEL, sort=True)]
    panels.sort(key=lambda key: (key[0], list(PROCESS_NAMES).index(key[1]), key[2]))
    counts = sorted(rows["steps"].unique())
    methods = [
        sorted(
            set(_of(rows, key)[_METHOD].itertuples(index=False, name=None)),
            key=lambda method: (method[0] != "greedy", method[0], method[1]),
        )
        for key in panels
    ]
    heights = [0.26 * len(names) + 0.45 for names in methods]
    figure = Figure(figsize=(7, sum(heights) + 1.1), layout="constrained")
    grid = figure.subplots(
        len(panels),
        len(counts),
        sharex=True,
        sharey="row",
        squeeze=False,
        height_ratios=heights,
    )
    for axes_row, key, names in zip(grid, panels, methods, strict=True):
        for axes, steps in zip(axes_row, counts, strict=True):
            of_panel = _of(rows, key)
            _draw(axes, of_panel[of_panel["steps"] == steps], names)
            axes.set_title(f"\n{steps_name(steps)}")
        axes_row[0].set_yticks(range(len(names)), [method_name(*name) for name in names])
        axes_row[0].set_ylim(len(names) - 0.5, -0.5)
        extractor, process, sampler = key
        # Above the step counts; it must not widen its column.
        axes_row[0].annotate(
            f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}; {metric_name(extractor)}",
            (0, 1),
            (0, 17),
            "axes fraction",
            "offset points",
            annotation_clip=False,
        ).set_in_layout(False)
    for axes in grid[-1]:
        axes.set_xlabel("Saving (%)")
    handles: list[Any] = [
        Line2D([], [], linestyle="none", label=label, **look) for _, label, _, look in _COUNTED
    ]
    several = span(rows["seeds"])
    if rows["seeds"].max() > 2:
        handles.append(Line2D([], [], color="0.3", linewidth=3, label="95 % bootstrap over seeds"))
    if rows["seeds"].max() > 1:
        handles.append(Line2D([], [], color="0.3", linewidth=0.8, label="95 % Student over seeds"))
    handles += [
        Line2D([], [], color="0.3", marker=">", linestyle="none", label="at least"),
        Line2D([], [], color="0.3", marker="<", linestyle="none", label="left of the axis"),
        Line2D([], [], color="0.3", marker="x", linestyle="none", label="a seed never reaches it"),
        Patch(facecolor="0.9", label=f"{_CLAIM[0]} % to {_CLAIM[1]} %, the paper's claim"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    figure.suptitle(
        f"{rows['dataset'].iloc[0]}: saving until vanilla's final distance is reached "
        f"(number of seeds: {several})",
        fontsize=8,
        weight="bold",
    )
    return figure


def _of(rows: pd.DataFrame, key: tuple[str, str, str]) -> pd.DataFrame:
    return rows[(rows[_PANEL] == list(key)).all(axis=1)]


def _draw(axes: Axes, rows: pd.DataFrame, methods: list[tuple[str, int]]) -> None:
    axes.axvspan(*_CLAIM, color="0.9", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(*_RANGE)
    axes.set_xticks([-50, 0, 50, 100])
    axes.grid(False)
    for row in rows.itertuples():
        place = methods.index((row.coupling, row.match_size))
        for column, _, beside, look in _COUNTED:
            y = place + beside
            value = getattr(row, f"{column}_percent")
            if pd.isna(value):
                if row.seeds_reaching < row.seeds:
                    cross = {"color": look["color"], "marker": "x"}
                    axes.plot([_RANGE[0] + 3], [y], linestyle="none", **cross)
                continue
            for bounds, width in (("student_", 0.8), ("", 3)):
                ends = [getattr(row, f"{column}_{bounds}{end}") for end in ("low", "high")]
                if not pd.isna(ends).any():
                    shown = np.clip(np.array(ends, float), *_RANGE)
                    axes.plot(shown, [y, y], color=look["color"], linewidth=width, alpha=0.6)
            marker = {"marker": ">"} if row.seeds_at_first_snapshot else {}
            shown = max(float(value), _RANGE[0] + 3)
            left = {"marker": "<"} if value < _RANGE[0] else {}
            axes.plot([shown], [y], linestyle="none", **look | marker | left)
