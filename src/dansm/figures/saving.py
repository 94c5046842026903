"""Training speed: the saving at equal quality."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dansm.errors import InputError
from dansm.figures.base import (
    BLUE,
    OWN,
    Look,
    metric_title,
    run_titles,
    span,
    steps_name,
    style,
    to_show,
)
from dansm.figures.distances import panel_title, panels_of

_CLAIM = (30, 40)  # per cent, the paper's
_RANGE = (-55, 102)  # per cent, what is shown
# Of images and of seconds: the columns' beginning, name, place beside the line, look.
_COUNTED: list[tuple[str, str, float, Look]] = [
    ("saving", "Images", -0.17, {"color": "black", "marker": "o", "markerfacecolor": "black"}),
    ("seconds_saving", "Time", 0.17, {"color": BLUE, "marker": "s", "markerfacecolor": "w"}),
]


@style()
def saving(speed: pd.DataFrame, subject: str, reference: str) -> Figure:
    """Return the savings in images and in time, a line a run, a column a step count.

    An arrow instead of a marker means at least so much, and an interval that is open ends at the
    edge.

    Parameters
    ----------
    speed
        With the columns `dansm.io.tables.SPEED_COLUMNS`.
    subject
        Of the title.
    reference
        With which real images is compared: one of `dansm.config.PARTS`.

    Raises
    ------
    InputError
        If there is no run beside the baselines.
    """
    titles = run_titles(speed)
    rows, reference = to_show(speed[speed["run"] != speed["baseline"]], reference)
    if rows.empty:
        raise InputError("training speed: expected runs beside the baselines, found none")
    rows = rows.assign(steps=rows["steps"].fillna(OWN).astype(int))
    panels = [
        (metric, key, of_panel)
        for metric, of_metric in rows.groupby("metric")
        for key, of_panel in panels_of(of_metric)
    ]
    counts = sorted(rows["steps"].unique())
    runs = [[run for run in titles if run in set(panel["run"])] for _, _, panel in panels]
    heights = [0.26 * len(names) + 0.45 for names in runs]
    figure = Figure((7, sum(heights) + 1.1), layout="constrained")
    shape = {"nrows": len(panels), "ncols": len(counts), "height_ratios": heights}
    grid = figure.subplots(**shape, sharex=True, sharey="row", squeeze=False)
    for axes_row, (metric, key, of_panel), names in zip(grid, panels, runs, strict=True):
        for axes, steps in zip(axes_row, counts, strict=True):
            _draw(axes, of_panel[of_panel["steps"] == steps], names)
            axes.set_title(f"\n{steps_name(steps)}")
        axes_row[0].set_yticks(range(len(names)), [titles[run] for run in names])
        axes_row[0].set_ylim(len(names) - 0.5, -0.5)
        # Above the step counts; it must not widen its column.
        text = f"{panel_title(*key[1:])}; {metric_title(metric, key[0], reference)}"
        places = (0, 1), (0, 17), "axes fraction", "offset points"
        axes_row[0].annotate(text, *places, annotation_clip=False).set_in_layout(False)
    for axes in grid[-1]:
        axes.set_xlabel("Saving (%)")
    handles: list[Any] = [
        Line2D([], [], linestyle="none", label=label, **look) for _, label, _, look in _COUNTED
    ]
    if rows["doubt"].notna().any():
        handles[-1].set_label(f"{handles[-1].get_label()}, not to be relied on")
    if rows["seeds"].max() > 1:
        text = "95 %, Student's, over seeds"
        handles.append(Line2D([], [], color="0.3", linewidth=2, label=text))
    marks = {">": "at least", "<": "left of the axis"}
    handles += [
        *(
            Line2D([], [], color="0.3", marker=mark, linestyle="none", label=text)
            for mark, text in marks.items()
        ),
        Patch(facecolor="0.9", label=f"{_CLAIM[0]} % to {_CLAIM[1]} %, the paper's claim"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    baselines = ", ".join(dict.fromkeys(titles.get(run, run) for run in rows["baseline"]))
    figure.suptitle(
        f"{subject}: saving at the best distance that a run and the baseline "
        f"({baselines.lower()}) both reach (number of seeds: {span(rows['seeds'])})"
    )
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, runs: list[str]) -> None:
    axes.axvspan(*_CLAIM, color="0.9", zorder=0)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_xlim(*_RANGE)
    axes.set_xticks([-50, 0, 50, 100])
    axes.grid(False)
    for row in rows.itertuples():
        for column, _, beside, look in _COUNTED:
            y, edge = runs.index(row.run) + beside, _RANGE[0] + 3
            value = getattr(row, f"{column}_percent")
            if pd.isna(value):
                continue
            ends = [getattr(row, f"{column}_{end}") for end in ("low", "high")]
            if not pd.isna(ends).any():
                shown = np.clip(np.array(ends, float), *_RANGE)
                axes.plot(shown, [y, y], color=look["color"], linewidth=2, alpha=0.6)
            mark = ">" if row.seeds_at_least else look["marker"]
            look = look | {"marker": "<" if value < _RANGE[0] else mark}
            place = edge if value < _RANGE[0] else float(value)
            axes.plot([place], [y], linestyle="none", **look)
