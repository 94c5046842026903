"""Generated images, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from dansm.errors import InputError
from dansm.figures.base import PROCESS_NAMES, SAMPLER_NAMES, read_arrays, span, steps_name, style

_ENLARGED = 400  # pixels of a mosaic that is drawn larger than it is


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
    file = read_arrays(path, ["value_range", *names])
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
            # Matplotlib's own choice would blur small images; large ones it has to scale down.
            scaling = "nearest" if len(mosaic) <= _ENLARGED else "antialiased"
            axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation=scaling)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        nfe = span([grids[match_size, steps].nfe for match_size in match_sizes])
        axes_row[0].set_ylabel(f"{steps_name(steps)}\n(NFE {nfe})")
    for axes, match_size in zip(all_axes[0], match_sizes, strict=True):
        axes.set_title(f"Match size {match_size:,}" if match_size else "Vanilla")
    name = f"{PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}"
    figure.suptitle(f"{dataset}: {name}, seed {seed}", fontsize=8, weight="bold")
    return figure


def _mosaic(images: np.ndarray, side: int) -> np.ndarray:
    """Join the first images to an array (height, width[, 3]), with white between them."""
    if len(images) < side**2:
        raise InputError(f"samples: expected at least {side**2} images, found {len(images)}")
    gap = max(1, images.shape[2] // 32)  # as visible between large images as between small ones
    framed = np.pad(images[: side**2], [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=1)
    rows = framed.reshape(side, side, *framed.shape[1:]).transpose(0, 3, 1, 4, 2)
    return rows.reshape(side * framed.shape[2], -1, framed.shape[1])[:-gap, :-gap].squeeze()
