"""What all figures share: their look, names and how they are written."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from dansm.errors import InputError
from dansm.io.files import atomic_path

PROCESS_NAMES = {"rectified_flow": "Rectified flow", "diffusion": "Diffusion"}
SAMPLER_NAMES = {
    "euler": "Euler",
    "heun": "Heun",
    "rk45": "RK45, adaptive steps",
    "ddim_original": "DDIM, original spacing",
    "ddim_trailing": "DDIM, trailing spacing",
}
ADAPTIVE = 0  # stands for the step count of a sampler that chooses its own
GREY, BLUE = "0.45", "#0072b2"


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


class _FewTicks(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, and at more within a single one."""

    def tick_values(self, vmin: float, vmax: float) -> np.ndarray:
        self.set_params(subs=(1, 2, 5) if vmax > 10 * vmin else (1, 1.5, 2, 3, 5, 7))
        return super().tick_values(vmin, vmax)


def label_decades(axis: Axis) -> None:
    """Give a logarithmic axis plain numbers, a few for each decade."""
    axis.set_major_locator(_FewTicks())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


@style()
def save_figure(figure: Figure, stem: Path) -> None:
    """Write ``STEM.pdf`` and ``STEM.png``; the same figure gives the same bytes."""
    for suffix, options in {
        ".pdf": {"metadata": {"CreationDate": None}},
        ".png": {"dpi": 200},
    }.items():
        with atomic_path(Path(f"{stem}{suffix}")) as partial:
            figure.savefig(partial, bbox_inches="tight", **options)


def span(values: Iterable[float]) -> str:
    """Write the least and the largest of some numbers, or the one they all are."""
    low, high = (f"{end:,.0f}" for end in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def steps_name(steps: int) -> str:
    """Write a step count, `ADAPTIVE` included."""
    return "adaptive" if steps == ADAPTIVE else f"{steps} step{'s' if steps > 1 else ''}"


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read arrays of an npz file.

    Raises
    ------
    InputError
        If the file or an array is missing, or a value is not finite.
    """
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
