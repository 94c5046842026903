"""Images that models trained apart make from the same noises."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dansm.errors import InputError
from dansm.figures.base import BLUE, GREY, PROCESS_NAMES, SAMPLER_NAMES, steps_name, style
from dansm.figures.distances import method_name
from dansm.figures.samples import read_samples
from dansm.io.tables import REPRODUCIBILITY_COLUMNS, read_table

_IMAGES = 10


def read_reproducibility(path: Path) -> pd.DataFrame:
    """Read the table of similarities.

    Raises
    ------
    InputError
        If the file is missing, or has other columns or values that don't fit them.
    """
    return read_table(path, REPRODUCIBILITY_COLUMNS, "similarities of images")


@style()
def reproducibility(table: pd.DataFrame, runs: Sequence[dict[str, Any]], *, dataset: str) -> Figure:
    """Return images of the same noises, a row for each model, and how similar they are.

    Similarities are those to the first model, whose other seed is shown too if it has one; of all
    other models only the first seed is.

    Parameters
    ----------
    table
        As read by `read_reproducibility`.
    runs
        ``process``, ``coupling``, ``match_size``, ``seed``, ``path`` (samples.npz), ``sampler`` and
        ``steps`` of each.
    dataset
        Named in the title.

    Raises
    ------
    InputError
        If the table does not compare a run with the first one, or a run's images are missing.
    """
    first = runs[0]
    shown = [run for k, run in enumerate(runs) if k < 2 or not _same_model(run, runs[k - 1])]
    figure = Figure(figsize=(6.8, 0.44 * len(shown) + 1.3), layout="constrained")
    grid = figure.add_gridspec(len(shown), 2, width_ratios=[3, 1.3])
    numbers = figure.add_subplot(grid[:, 1])
    for place, run in enumerate(shown):
        axes = figure.add_subplot(grid[place, 0])
        images = read_samples(run["path"], run["sampler"], [run["steps"]])[run["steps"]].images
        apart = [(0, 0), (0, 0), (0, 0), (0, 1)]  # a white line between images
        strip = np.concatenate(list(np.pad(images[:_IMAGES], apart, constant_values=1)), axis=2)
        look = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
        axes.imshow(strip.transpose(1, 2, 0)[:, :-1].squeeze(), **look)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(_run_name(run), rotation=0, ha="right", va="center", fontsize=7)
        if place:
            _draw_numbers(numbers, _row(table, first, run), place)
    numbers.set(
        ylim=(len(shown) - 0.5, -0.5),
        xlabel="Correlation with the first row",
        yticks=[],
    )
    numbers.axvline(0, color="0.6", linewidth=0.8)
    numbers.text(0.3, 0, "reference", transform=numbers.get_yaxis_transform(), va="center")
    handles, labels = numbers.get_legend_handles_labels()
    names = dict(zip(labels, handles, strict=True))
    figure.legend(names.values(), names.keys(), loc="outside lower right", ncols=2)
    ways = dict.fromkeys(
        f"{PROCESS_NAMES[run['process']]} by {SAMPLER_NAMES[run['sampler']]}"
        + (f", {steps_name(run['steps'])}" if run["steps"] else "")
        for run in shown
    )
    title = f"{dataset}: images of the same noises (a column each)\n{'; '.join(ways)}"
    figure.suptitle(title, fontsize=8, weight="bold")
    return figure


def _same_model(run: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two runs differ in their seed only."""
    return all(run[key] == other[key] for key in ("process", "coupling", "match_size"))


def _run_name(run: dict[str, Any]) -> str:
    method = method_name(run["coupling"], run["match_size"]).lower()
    return f"{PROCESS_NAMES[run['process']]}\n{method}, seed {run['seed']}"


def _row(table: pd.DataFrame, first: dict[str, Any], run: dict[str, Any]) -> pd.Series:
    chosen = pd.Series(data=True, index=table.index)
    for side, of_side in (("a", first), ("b", run)):
        for key in ("process", "coupling", "match_size", "seed"):
            chosen &= table[f"{key}_{side}"] == of_side[key]
    if chosen.sum() != 1:
        raise InputError(
            f"table of similarities: expected one row of {_run_name(first)!r} and "
            f"{_run_name(run)!r}, found {chosen.sum()}"
        )
    return table[chosen].iloc[0]


def _draw_numbers(axes: Any, row: pd.Series, place: int) -> None:
    """Draw both similarities with their intervals, the number beside the first."""
    looks = [
        ("similarity", "low", "high", "same noise", BLUE, BLUE),
        ("shuffled", "shuffled_low", "shuffled_high", "other noises", GREY, "white"),
    ]
    for value, low, high, label, color, face in looks:
        middle = float(row[value])
        error = [[middle - float(row[low])], [float(row[high]) - middle]]
        look = {"fmt": "o", "color": color, "markerfacecolor": face, "capsize": 2}
        axes.errorbar(middle, place, xerr=error, label=label, **look)
    axes.annotate(
        f"{float(row['similarity']):.2f}",
        (float(row["similarity"]), place),
        (0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=7,
    )
