"""What all figures share: their look, and how runs, samplers and metrics are called."""

import ast
import io
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from PIL import Image

from dansm.catalogue import (
    COUPLINGS,
    GRIDS,
    LOSSES,
    METRICS,
    PROCESSES,
    REFERENCES,
    SOLVERS,
    SPACES,
    TIMES,
    Entry,
)
from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.tables import compared_with

OWN = 0  # stands for the step count of a sampler that has steps of its own
GREY, BLUE = "0.45", "#0072b2"
# Okabe and Ito's colours without the yellow, which is too pale for lines on white.
COLOURS = ["#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
_LINES = ["-", (0, (4, 1.5)), (0, (1, 1))]
_MARKERS = "osD^vP*X<>pdh8"

Look = dict[str, Any]


# Matplotlib's own defaults first, so that no configuration of the machine's leaks in; all but the
# backend, which no context restores.
_STYLE = {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")} | {
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.titlesize": 8,
    "figure.titleweight": "bold",
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


def style() -> AbstractContextManager[None]:
    """Return a context, also usable as a decorator, in which all figures look alike."""
    return matplotlib.rc_context(_STYLE)


class _FewTicks(LogLocator):
    """Ticks at each decade, and at more places of it the less the axis spans."""

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        if vmax > 50 * vmin:
            subs = (1,)
        elif vmax > 10 * vmin:
            subs = (1, 2, 5)
        elif vmax > 3 * vmin:
            subs = (1, 2, 3, 5, 7)
        else:
            subs = (1, 1.5, 2, 3, 5, 7)
        self.set_params(subs=subs)
        return super().tick_values(vmin, vmax)


def label_decades(axis: Axis) -> None:
    """Give a logarithmic axis plain numbers, a few for each decade."""
    axis.set_major_locator(_FewTicks())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


@style()
def save_figure(figure: Figure, stem: str | Path) -> None:
    """Write ``STEM.pdf`` and ``STEM.png``; the same figure gives the same bytes.

    The PNG has a palette of 256 colours, which takes a third of the room that all would.
    """
    with atomic_path(Path(f"{stem}.pdf")) as partial:
        figure.savefig(partial, bbox_inches="tight", metadata={"CreationDate": None})
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight", dpi=200)
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    with atomic_path(Path(f"{stem}.png")) as partial:
        picture.save(partial, format="PNG", optimize=True)


def span(values: Iterable[float]) -> str:
    """Write the least and the largest of some numbers, or the one they all are."""
    low, high = (f"{end:,.0f}" for end in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def steps_name(steps: int) -> str:
    """Write a step count, `OWN` included."""
    return "own steps" if steps == OWN else f"{steps} step{'s' if steps > 1 else ''}"


def machine_name(row: pd.Series) -> str:
    """Name the device and threads of a row of a table of timings."""
    if row["device"] != "cpu":
        return str(row["device"])
    return f"{row['threads']} thread{'s' if row['threads'] > 1 else ''} of {row['processor']}"


def label(entries: Mapping[str, Entry], name: str, options: Mapping[str, Any]) -> str:
    """Return the title of an entry of the catalogue with options.

    Raises
    ------
    InputError
        If the catalogue does not have it.
    """
    if name not in entries:
        raise InputError(f"table: expected one of {sorted(entries)}, found {name!r}")
    return entries[name].label(options)


def coupling_title(coupling: str, match_size: int, options: Any = None) -> str:
    """Return the title of a coupling from the columns that describe it."""
    sized = {"match_size": int(match_size)} if match_size else {}
    return label(COUPLINGS, coupling, sized | _options(options))


def process_title(process: str) -> str:
    """Return the title of a process as tables write it, with its options."""
    name, _, options = process.partition("(")
    return label(PROCESSES, name, _options(options.removesuffix(")")))


def process_place(process: str) -> tuple[int, str]:
    """Return what processes are sorted by: the catalogue's order, then their options."""
    name, _, options = process.partition("(")
    return list(PROCESSES).index(name), options


def sampler_title(sampler: str) -> str:
    """Return the title of a configured sampler, as far as its name says what it is."""
    if sampler in SOLVERS:
        return SOLVERS[sampler].title
    head, _, grid = sampler.partition("_")
    if grid and grid not in GRIDS:
        return sampler
    if head in SOLVERS:
        head = SOLVERS[head].title
    elif grid:  # an abbreviation, as ddim
        head = head.upper()
    return f"{head}, {GRIDS[grid].title}" if grid else head


def metric_title(metric: str, extractor: str, reference: str | None) -> str:
    """Name a metric, the real images and the features; only over Inception's it is an FID."""
    entry, features = METRICS[metric], SPACES[extractor]
    name = entry.inception_title if features.fid and entry.inception_title else entry.title
    return f"{name}{against(reference)}, {features.title}"


def against(reference: str | None) -> str:
    """Say with which real images something is compared, after its name; nothing if with none."""
    return "" if pd.isna(reference) else f" against {REFERENCES[reference]}"


def to_show(table: pd.DataFrame, reference: str) -> tuple[pd.DataFrame, str | None]:
    """Return the rows of a comparison with certain real images, and with which they are.

    Tables of before images were held out have others alone, and those are returned; with none, as
    scores have it, the reference is None.
    """
    rows = compared_with(table, reference)
    if rows["run"].isna().all():
        rows = table
    found = rows["reference"].dropna()
    return rows, None if found.empty else found.iloc[0]


def run_titles(table: pd.DataFrame) -> dict[str, str]:
    """Return the titles of a table's runs, baselines first, in the catalogue's order.

    A title is that of the coupling. Times and loss are named where they are not the baseline's, and
    the run's own name where two runs of a process would be called the same.

    Parameters
    ----------
    table
        With the columns ``run``, ``process``, ``coupling``, ``match_size``, ``options`` and
        ``baseline``, and perhaps ``times`` and ``loss``.
    """
    runs = table.dropna(subset=["run"]).drop_duplicates("run").set_index("run", drop=False)

    def place(run: str) -> tuple[Any, ...]:
        row = runs.loc[run]
        known = list(COUPLINGS).index(row["coupling"]) if row["coupling"] in COUPLINGS else -1
        return run != row["baseline"], known, row["match_size"], str(row["options"]), run

    titles = {}
    for run in sorted(runs.index, key=place):
        row = runs.loc[run]
        parts = [coupling_title(row["coupling"], row["match_size"], row["options"])]
        baseline = runs.loc[row["baseline"]] if row["baseline"] in runs.index else row
        for column, entries in (("times", TIMES), ("loss", LOSSES)):
            if column in runs and row[column] != baseline[column]:
                name, _, options = row[column].partition("(")
                parts.append(label(entries, name, _options(options.removesuffix(")"))))
        titles[run] = ", ".join(parts)
    called = pd.Series(titles)
    twice = called.groupby([runs.loc[called.index, "process"], called]).transform("size") > 1
    return {run: f"{title} ({run})" if twice[run] else title for run, title in titles.items()}


def _options(text: Any) -> dict[str, Any]:
    """Read options as tables write them: ``a=4, b=c``."""
    if not isinstance(text, str) or not text:
        return {}
    options = {}
    for part in text.split(", "):
        key, _, value = part.partition("=")
        try:
            options[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[key] = value
    return options


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """Return a line and a marker for each name, which can be told apart without colour too."""
    return {
        name: {
            "color": COLOURS[k % len(COLOURS)],
            "linestyle": _LINES[k // len(COLOURS) % len(_LINES)],
            "marker": _MARKERS[k % len(_MARKERS)],
        }
        for k, name in enumerate(dict.fromkeys(names))
    }


def unequal_note(table: pd.DataFrame) -> str:
    """Say in what a comparison's runs differ, to be added to a title; nothing where in nothing."""
    texts = table["unequal"].dropna().unique()
    return f"; runs differ in {', '.join(texts)}" if len(texts) else ""
