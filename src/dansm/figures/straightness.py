"""Trajectories of systems in two dimensions."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dansm.figures.base import BLUE, GREY, style

_TITLES = {
    "edm": "EDM",
    "ot_cfm": "OT-CFM, independent",
    "bot_cfm": "BOT-CFM",
    "reflow_2": "2-rectified flow",
    "lines": "Lines Matching",
}
_ARROWS = 60


@style()
def straightness(table: pd.DataFrame, trajectories: Mapping[str, np.ndarray]) -> Figure:
    """Return each system's trajectories, its first and middle displacements, and straightness.

    Parameters
    ----------
    table
        With the columns `dansm.io.tables.STRAIGHTNESS_COLUMNS`.
    trajectories
        As `dansm.pairs.straightness.measure_straightness` writes them.
    """
    systems = table[["name", "batch_size"]].drop_duplicates().itertuples(index=False)
    shown = [(name, size) for name, size in systems if f"{name}-{size}" in trajectories]
    transported = sum(name == "bot_cfm" for name, _ in shown)
    figure = Figure(figsize=(1.5 * len(shown), 4.9), layout="constrained")
    axes = figure.subplots(3, len(shown), sharex=True, sharey=True, squeeze=False)
    for (name, size), (first, middle, whole) in zip(shown, axes.T, strict=True):
        rows = table[(table["name"] == name) & (table["batch_size"] == size)]
        states = trajectories[f"{name}-{size}"]
        title = _TITLES.get(name, name)
        if name == "bot_cfm" and transported > 1:
            title += f", {size}"
        first.set_title(f"{title}\n{rows['value'].astype(float).mean():.3g}")
        for panel, k in ((first, 0), (middle, len(states) // 2)):
            # Where the velocity of this moment would lead by the end.
            ahead = (states[k + 1] - states[k]) * (len(states) - 1 - k)
            start, way = states[k][:_ARROWS], ahead[:_ARROWS]
            look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
            panel.quiver(*start.T, *way.T, color=BLUE, **look)
        whole.plot(states[:, :_ARROWS, 0], states[:, :_ARROWS, 1], color=GREY, linewidth=0.5)
        for panel in (first, middle, whole):
            panel.plot(*trajectories["data"].T, ".", color="black", markersize=1)
            panel.set(aspect="equal", xlim=(-2.5, 2.5), ylim=(-2.5, 2.5))
    for panel, text in zip(
        axes[:, 0], ("Initial flow", "Flow at half time", "Trajectories"), strict=True
    ):
        panel.set_ylabel(text)
    return figure
