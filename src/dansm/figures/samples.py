"""Generated images side by side, and how similar those of models trained apart are."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dansm.catalogue import SOLVERS
from dansm.errors import InputError
from dansm.figures import base
from dansm.figures.distances import panel_title
from dansm.io.arrays import read_arrays

_ENLARGED = 400  # pixels of a mosaic that is drawn larger than it is
_COLUMNS = 4  # step counts that are shown, at most
_IMAGES = 10  # of a row of similar images

# A run's ``run``, ``seed`` and ``path`` of its samples.npz.
Sample = Mapping[str, Any]


def read_samples(path: str) -> dict[tuple[str, int], tuple[np.ndarray, float]]:
    """Read a run's first samples, by sampler and steps.

    Returns
    -------
    dict
        Images of shape ``(n, channels, height, width)`` with values in [0, 1], and network
        evaluations of each.

    Raises
    ------
    InputError
        If the file is missing, or samples have another shape.
    """
    file = read_arrays(path)
    bounds = file.get("value_range", np.empty(0))
    low, high = bounds.astype(float) if bounds.shape == (2,) else (0.0, 0.0)
    if not low < high:
        raise InputError(f"{path}: value_range: expected two bounds, found {bounds.tolist()}")
    samples = {}
    for key in [name.removesuffix("-nfe") for name in file if name.endswith("-nfe")]:
        images, nfe = file.get(key, np.empty(0)), file[f"{key}-nfe"]
        sampler, _, steps = key.rpartition("-")
        fits = images.ndim == 4 and images.shape[1] in (1, 3) and steps.isdecimal()
        if not fits or nfe.shape:
            raise InputError(
                f"{path}: {key}: expected grey or colour images of shape "
                f"(n, 1 or 3, height, width) and a number of evaluations, found {images.shape}"
            )
        samples[sampler, int(steps)] = (images - low) / (high - low), float(nfe)
    return samples


@base.style()
def sample_grid(
    samples: Sequence[Sample], distances: pd.DataFrame, subject: str, side: int = 4
) -> Figure:
    """Return samples of the same noises: a block a process, a row a run, a column a step count.

    Steps are those of the sampler that is measured along training.

    Parameters
    ----------
    samples
        Of the comparison's runs; image k of each is made from noise k.
    distances
        With the columns `dansm.io.tables.COMPARISON_COLUMNS`: what the runs are called.
    subject
        Of the title.
    side
        Each mosaic shows the first ``side ** 2`` images.

    Raises
    ------
    InputError
        If a run is not in the table, or has too few images, or none of a sampler.
    """
    titles, processes = base.run_titles(distances), _processes(distances, samples)
    blocks = []
    for process in sorted({*processes.values()}, key=base.process_place):
        of_process = [sample for sample in samples if processes[sample["run"]] == process]
        if of_process:
            blocks.append((process, of_process, *_columns(distances, of_process)))
    widest = max(len(counts) for *_, counts in blocks)
    heights = [1.15 * len(of_process) + 0.5 for _, of_process, *_ in blocks]
    figure = Figure((1.15 * widest + 1.2, sum(heights) + 0.3), layout="constrained")
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (process, of_process, sampler, counts) in zip(parts, blocks, strict=True):
        part.suptitle(panel_title(process, sampler), weight="normal")
        grid = part.subplots(len(of_process), widest, squeeze=False)
        evaluations = defaultdict(list)
        for axes_row, sample in zip(grid, of_process, strict=True):
            found = read_samples(sample["path"])
            for axes, steps in zip(axes_row, counts, strict=False):
                if (sampler, steps) not in found:
                    wanted = f"images of {sampler}, {base.steps_name(steps)}"
                    raise InputError(
                        f"{sample['path']}: expected {wanted}, found those of {sorted(found)}"
                    )
                images, nfe = found[sampler, steps]
                if len(images) < side**2:
                    raise InputError(
                        f"{sample['path']}: expected at least {side**2} images, found {len(images)}"
                    )
                # As visible between large images as between small ones.
                gap = max(1, images.shape[2] // 32)
                _show(axes, _mosaic(images[: side**2], (side, side), gap))
                evaluations[steps].append(nfe)
            for axes in axes_row[len(counts) :]:
                axes.set_visible(False)
            _name_row(axes_row[0], f"{titles[sample['run']]},\nseed {sample['seed']}")
        for axes, steps in zip(grid[0], counts, strict=False):
            axes.set_title(f"{base.steps_name(steps)}\n(NFE {base.span(evaluations[steps])})")
    figure.suptitle(f"{subject}: samples of the same noises{base.unequal_note(distances)}")
    return figure


@base.style()
def reproducibility(
    similarities: pd.DataFrame, samples: Sequence[Sample], distances: pd.DataFrame, subject: str
) -> Figure:
    """Return images of the same noises, a row for each run, and how similar they are.

    Similarities are those to the first run; in its own row stands that to its next seed, if it has
    one. Images are of the longest sampling: by adaptive steps, or else the most steps.

    Parameters
    ----------
    similarities
        With the columns `dansm.io.tables.REPRODUCIBILITY_COLUMNS`.
    samples, distances, subject
        As in `sample_grid`.

    Raises
    ------
    InputError
        If the table does not compare a run with the first one, or a run is unknown.
    """
    titles, processes = base.run_titles(distances), _processes(distances, samples)
    figure = Figure((6.8, 0.44 * len(samples) + 1.3), layout="constrained")
    grid = figure.add_gridspec(len(samples), 2, width_ratios=[3, 1.3])
    numbers = figure.add_subplot(grid[:, 1])
    ways = {}
    adaptive = tuple(name for name, entry in SOLVERS.items() if entry.adaptive)
    for place, sample in enumerate(samples):
        axes = figure.add_subplot(grid[place, 0])
        found = read_samples(sample["path"])
        # Adaptive is a configured sampler whose name begins with that of such a solver.
        sampler, steps = max(found, key=lambda key: (key[0].startswith(adaptive), *key[::-1]))
        images = found[sampler, steps][0][:_IMAGES]
        _show(axes, _mosaic(images, (1, len(images)), gap=1))
        process = base.process_title(processes[sample["run"]])
        _name_row(axes, f"{process}\n{titles[sample['run']].lower()}, seed {sample['seed']}")
        count = "" if steps == base.OWN else f", {base.steps_name(steps)}"
        ways[f"{process} by {base.sampler_title(sampler)}{count}"] = None
        row = _similarity(similarities, samples[0], sample)
        if row is not None:
            _draw_numbers(numbers, row, place)
        else:
            numbers.text(0.3, 0, "reference", transform=numbers.get_yaxis_transform(), va="center")
    numbers.set(ylim=(len(samples) - 0.5, -0.5), xlabel="Correlation with the first row", yticks=[])
    numbers.axvline(0, color="0.6", linewidth=0.8)
    handles, labels = numbers.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        figure.legend(once.values(), once.keys(), loc="outside lower right", ncols=2)
    figure.suptitle(
        f"{subject}: images of the same noises (a column each){base.unequal_note(distances)}\n"
        + "; ".join(ways)
    )
    return figure


def _processes(distances: pd.DataFrame, samples: Sequence[Sample]) -> dict[str, str]:
    """Return the processes of all runs, which have to be in the table."""
    runs = distances.dropna(subset=["run"]).drop_duplicates("run")
    processes = dict(zip(runs["run"], runs["process"], strict=True))
    missing = sorted({sample["run"] for sample in samples} - set(processes))
    if missing or not samples:
        raise InputError(f"samples: expected runs of {sorted(processes)}, found {missing}")
    return processes


def _columns(distances: pd.DataFrame, samples: Sequence[Sample]) -> tuple[str, list[int]]:
    """Return the sampler that is measured at most snapshots, and its least steps."""
    rows = distances[distances["run"].isin({sample["run"] for sample in samples})]
    rows = rows.assign(steps=rows["steps"].fillna(base.OWN).astype(int))
    snapshots = rows.groupby(["sampler", "steps"])["images_seen"].nunique()
    most = snapshots[snapshots == snapshots.max()].index.to_frame(index=False)
    sampler = most["sampler"].iloc[0]
    return sampler, sorted(most.loc[most["sampler"] == sampler, "steps"])[:_COLUMNS]


def _show(axes: Axes, image: np.ndarray) -> None:
    # Matplotlib's own choice would blur small images; large ones it has to scale down.
    scaling = "nearest" if len(image) <= _ENLARGED else "antialiased"
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation=scaling)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _name_row(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)


def _mosaic(images: np.ndarray, shape: tuple[int, int], gap: int) -> np.ndarray:
    """Join images of which there are so many to an array (height, width[, 3]), white between."""
    framed = np.pad(images, [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=1)
    rows = framed.reshape(*shape, *framed.shape[1:]).transpose(0, 3, 1, 4, 2)
    return rows.reshape(shape[0] * framed.shape[2], -1, framed.shape[1])[:-gap, :-gap].squeeze()


def _similarity(table: pd.DataFrame, first: Sample, other: Sample) -> pd.Series | None:
    """Return the row of two runs, of the first with itself that of its next seed, or None."""
    rows = table[(table["run_a"] == first["run"]) & (table["seed_a"] == first["seed"])]
    rows = rows[rows["run_b"] == other["run"]]
    if other is first:
        return None if rows.empty else rows.sort_values("seed_b").iloc[0]
    rows = rows[rows["seed_b"] == other["seed"]]
    if len(rows) != 1:
        raise InputError(
            f"table of similarities: expected one row of {first['run']}, seed {first['seed']}, and "
            f"{other['run']}, seed {other['seed']}, found {len(rows)}"
        )
    return rows.iloc[0]


def _draw_numbers(axes: Axes, row: pd.Series, place: int) -> None:
    """Draw both similarities with their intervals, the number beside the first."""
    looks = [
        ("similarity", "", "same noise", base.BLUE, base.BLUE),
        ("shuffled", "shuffled_", "other noises", base.GREY, "white"),
    ]
    for value, prefix, label, color, face in looks:
        middle, low, high = (float(row[k]) for k in (value, f"{prefix}low", f"{prefix}high"))
        look = {"fmt": "o", "color": color, "markerfacecolor": face, "capsize": 2}
        error = [[middle - low], [high - middle]]
        axes.errorbar(middle, place, xerr=error, label=label, **look)
    text, align = f"{float(row['similarity']):.2f}", "center"
    if row["run_a"] == row["run_b"]:
        text, align = f"{text} (its seed {row['seed_b']})", "right"
    at = (float(row["similarity"]), place)
    axes.annotate(text, at, (0, 4), textcoords="offset points", ha=align, fontsize=7)
