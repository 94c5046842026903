"""Noise-sample pairs in the plane of a t-SNE."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from dansm.errors import InputError
from dansm.figures.base import BLUE, GREY, read_arrays, style


def count_crossings(starts: np.ndarray, ends: np.ndarray) -> int:
    """Count the pairs of plane segments that properly cross each other.

    Parameters
    ----------
    starts, ends
        Arrays of shape ``(n, 2)``; segment i runs from ``starts[i]`` to ``ends[i]``. Segments that
        only touch at an end point do not count.
    """

    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
            - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    i, j = np.triu_indices(len(starts), k=1)
    a, b, c, d = starts[i], ends[i], starts[j], ends[j]
    crosses = (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)
    return int(crosses.sum())


class NoiseSamplePairs(NamedTuple):
    """Samples with two kinds of noise, all of shape ``(draws, pairs, channels, height, width)``."""

    samples: np.ndarray
    random: np.ndarray
    matched: np.ndarray
    match_size: int


def read_pairs(path: Path) -> NoiseSamplePairs:
    """Read the pairs of the t-SNE figure.

    Raises
    ------
    InputError
        If the file or one of its arrays is missing, or the arrays differ in shape.
    """
    file = read_arrays(path, list(NoiseSamplePairs._fields))
    shapes = {name: file[name].shape for name in ("samples", "random", "matched")}
    if len(set(shapes.values())) > 1 or file["samples"].ndim != 5:
        raise InputError(
            f"{path}: expected arrays of one shape (draws, pairs, channels, height, width), "
            f"found {shapes}"
        )
    return NoiseSamplePairs(**file | {"match_size": int(file["match_size"])})


@style()
def noise_sample_tsne(
    pairs: NoiseSamplePairs, *, dataset: str, perplexity: float, random_state: int = 0
) -> Figure:
    """Return the joint t-SNE of samples and noises, random and matched noises side by side.

    The first draw is shown; crossings of the lines are counted in every draw's own embedding.

    Parameters
    ----------
    pairs
        As read by `read_pairs`.
    dataset
        Named in the title.
    perplexity
        Of t-SNE; below twice the number of pairs.
    random_state
        Seed of t-SNE.

    Raises
    ------
    InputError
        If the perplexity is too large.
    """
    # Takes seconds to import, and only this figure needs it.
    from sklearn.manifold import TSNE

    draws, count = pairs.samples.shape[:2]
    if perplexity >= 2 * count:
        raise InputError(f"perplexity: expected less than {2 * count} points, found {perplexity}")
    figure = Figure(figsize=(6.6, 4), layout="constrained")
    kinds = {
        "Random noise": pairs.random,
        f"Matched noise, match size {pairs.match_size:,}": pairs.matched,
    }
    for axes, (name, noises) in zip(figure.subplots(1, 2), kinds.items(), strict=True):
        crossings = []
        for draw in range(draws):
            points = np.concatenate([pairs.samples[draw], noises[draw]]).reshape(2 * count, -1)
            tsne = TSNE(
                init="pca", method="exact", perplexity=perplexity, random_state=random_state
            )
            sample_points, noise_points = tsne.fit_transform(points).reshape(2, count, 2)
            crossings.append(count_crossings(noise_points, sample_points))
            if draw == 0:
                _draw_pairs(axes, sample_points, noise_points)
        title = f"{name}\n{crossings[0]} crossings"
        if draws > 1:
            spread = f"{np.mean(crossings):.1f} ± {np.std(crossings, ddof=1):.1f}"
            title += f" (mean ± sd of {draws} draws: {spread})"
        axes.set_title(title)
    title = f"{dataset}: t-SNE of {count} noise-sample pairs, perplexity {perplexity:g}"
    figure.suptitle(title, fontsize=8, weight="bold")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_pairs(axes: Axes, samples: np.ndarray, noises: np.ndarray) -> None:
    segments = LineCollection(
        np.stack([noises, samples], 1), colors=GREY, linestyles="--", linewidths=0.8, label="pair"
    )
    axes.add_collection(segments)
    axes.scatter(*noises.T, s=16, facecolor="white", edgecolor="black", zorder=3, label="noise")
    axes.scatter(*samples.T, s=18, marker="s", color=BLUE, zorder=3, label="sample")
    axes.set(xlabel="t-SNE dimension 1 (no unit)", ylabel="t-SNE dimension 2 (no unit)")
    axes.tick_params(length=0, labelbottom=False, labelleft=False)
    axes.grid(visible=False)
