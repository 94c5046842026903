"""Generated images side by side, and how similar those of models trained apart are."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dansm.catalogue import PROCESSES, SOLVERS
from dansm.errors import InputError
from dansm.figures.base import (
    BLUE,
    GREY,
    OWN,
    read_arrays,
    run_titles,
    sampler_title,
    span,
    steps_name,
    style,
    unequal_note,
)

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
    low, high = file["value_range"]
    samples = {}
    for key, images in file.items():
        if key == "value_range" or key.endswith("-nfe"):
            continue
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise InputError(
                f"{path}: {key}: expected grey or colour images of shape "
                f"(n, 1 or 3, height, width), found {images.shape}"
            )
        sampler, _, steps = key.rpartition("-")
        nfe = float(file[f"{key}-nfe"])
        samples[sampler, int(steps)] = (images - low) / (high - low), nfe
    return samples


@style()
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
    titles, processes = run_titles(distances), _processes(distances, samples)
    blocks = []
    for process in PROCESSES:
        of_process = [sample for sample in samples if processes[sample["run"]] == process]
        if of_process:
            blocks.append((process, of_process, *_columns(distances, of_process)))
    widest = max(len(counts) for *_, counts in blocks)
    rows = sum(len(of_process) for _, of_process, *_ in blocks)
    size = (1.15 * widest + 1.2, 1.15 * rows + 0.5 * len(blocks) + 0.3)
    figure = Figure(size, layout="constrained")
    heights = [1.15 * len(of_process) + 0.5 for _, of_process, *_ in blocks]
    parts = figure.subfigures(len(blocks), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (process, of_process, sampler, counts) in zip(parts, blocks, strict=True):
        part.suptitle(f"{PROCESSES[process].title}, {sampler_title(sampler)}", weight="normal")
        grid = part.subplots(len(of_process), widest, squeeze=False)
        evaluations: dict[int, list[float]] = {steps: [] for steps in counts}
        for axes_row, sample in zip(grid, of_process, strict=True):
            found = read_samples(sample["path"])
            for axes, steps in zip(axes_row, counts, strict=False):
                if (sampler, steps) not in found:
                    raise InputError(
                        f"{sample['path']}: expected images of {sampler}, {steps_name(steps)}, "
                        f"found those of {sorted(found)}"
                    )
                images, nfe = found[sampler, steps]
                _show(axes, _mosaic(images, side))
                evaluations[steps].append(nfe)
            for axes in axes_row[len(counts) :]:
                axes.set_visible(False)
            _name_row(axes_row[0], f"{titles[sample['run']]},\nseed {sample['seed']}")
        for axes, steps in zip(grid[0], counts, strict=False):
            axes.set_title(f"{steps_name(steps)}\n(NFE {span(evaluations[steps])})")
    figure.suptitle(f"{subject}: samples of the same noises{unequal_note(distances)}")
    return figure


@style()
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
    titles, processes = run_titles(distances), _processes(distances, samples)
    figure = Figure((6.8, 0.44 * len(samples) + 1.3), layout="constrained")
    grid = figure.add_gridspec(len(samples), 2, width_ratios=[3, 1.3])
    numbers = figure.add_subplot(grid[:, 1])
    ways = {}
    for place, sample in enumerate(samples):
        axes = figure.add_subplot(grid[place, 0])
        found = read_samples(sample["path"])
        sampler, steps = max(found, key=lambda key: (_is_adaptive(key[0]), *key[::-1]))
        # A white line between images.
        apart = [(0, 0), (0, 0), (0, 0), (0, 1)]
        images = found[sampler, steps][0][:_IMAGES]
        strip = np.concatenate(list(np.pad(images, apart, constant_values=1)), axis=2)
        _show(axes, strip.transpose(1, 2, 0)[:, :-1].squeeze())
        process = PROCESSES[processes[sample["run"]]].title
        _name_row(axes, f"{process}\n{titles[sample['run']].lower()}, seed {sample['seed']}")
        count = "" if steps == OWN else f", {steps_name(steps)}"
        ways[f"{process} by {sampler_title(sampler)}{count}"] = None
        row = _similarity(similarities, samples[0], sample)
        if row is not None:
            _draw_numbers(numbers, row, place)
        else:
            where = {"transform": numbers.get_yaxis_transform(), "va": "center"}
            numbers.text(0.3, 0, "reference", **where)
    numbers.set(ylim=(len(samples) - 0.5, -0.5), xlabel="Correlation with the first row", yticks=[])
    numbers.axvline(0, color="0.6", linewidth=0.8)
    handles, labels = numbers.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        figure.legend(once.values(), once.keys(), loc="outside lower right", ncols=2)
    figure.suptitle(
        f"{subject}: images of the same noises (a column each){unequal_note(distances)}\n"
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
    rows = rows.assign(steps=rows["steps"].fillna(OWN).astype(int))
    snapshots = rows.groupby(["sampler", "steps"])["images_seen"].nunique()
    most = snapshots[snapshots == snapshots.max()].index.to_frame(index=False)
    sampler = most["sampler"].iloc[0]
    return sampler, sorted(most.loc[most["sampler"] == sampler, "steps"])[:_COLUMNS]


def _is_adaptive(sampler: str) -> bool:
    """Tell whether a configured sampler is of an adaptive solver, as far as its name says."""
    return any(entry.adaptive and sampler.startswith(name) for name, entry in SOLVERS.items())


def _show(axes: Axes, image: np.ndarray) -> None:
    # Matplotlib's own choice would blur small images; large ones it has to scale down.
    scaling = "nearest" if len(image) <= _ENLARGED else "antialiased"
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation=scaling)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _name_row(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7)


def _mosaic(images: np.ndarray, side: int) -> np.ndarray:
    """Join the first images to an array (height, width[, 3]), with white between them."""
    if len(images) < side**2:
        raise InputError(f"samples: expected at least {side**2} images, found {len(images)}")
    gap = max(1, images.shape[2] // 32)  # as visible between large images as between small ones
    framed = np.pad(images[: side**2], [(0, 0), (0, 0), (0, gap), (0, gap)], constant_values=1)
    rows = framed.reshape(side, side, *framed.shape[1:]).transpose(0, 3, 1, 4, 2)
    return rows.reshape(side * framed.shape[2], -1, framed.shape[1])[:-gap, :-gap].squeeze()


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
        ("similarity", "low", "high", "same noise", BLUE, BLUE),
        ("shuffled", "shuffled_low", "shuffled_high", "other noises", GREY, "white"),
    ]
    for value, low, high, label, color, face in looks:
        middle = float(row[value])
        error = [[middle - float(row[low])], [float(row[high]) - middle]]
        look = {"fmt": "o", "color": color, "markerfacecolor": face, "capsize": 2}
        axes.errorbar(middle, place, xerr=error, label=label, **look)
    text = f"{float(row['similarity']):.2f}"
    if row["run_a"] == row["run_b"]:
        text += f" (its seed {row['seed_b']})"
    axes.annotate(
        text,
        (float(row["similarity"]), place),
        (0, 4),
        textcoords="offset points",
        ha="right" if row["run_a"] == row["run_b"] else "center",
        fontsize=7,
    )
