"""How often the lines of noise-sample pairs cross each other in the plane of a t-SNE."""

from pathlib import Path

import numpy as np

from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.tables import CROSSING_COLUMNS, write_table
from dansm.pairs.paths import PairDraws
from dansm.randomness import stream_seed


def crossings_of(starts: np.ndarray, ends: np.ndarray) -> int:
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


def count_crossings(
    draws: PairDraws,
    *,
    pairs: int,
    perplexity: float,
    embeddings: int,
    dataset: str,
    path: Path,
    embedding: Path,
) -> None:
    """Write how many lines cross in each of several t-SNEs, and the first t-SNE of each kind.

    Samples and noises are embedded together, each time other pairs: the table of `CROSSING_COLUMNS`
    numbers them by ``draw``. The npz ``embedding`` holds, by kind and match size (``matched-100``),
    an array of shape (2, pairs, 2): the samples' points, then the noises'.

    Parameters
    ----------
    pairs, perplexity
        Of a t-SNE.
    embeddings
        How many t-SNEs there are of each kind.
    dataset
        Its name.

    Raises
    ------
    InputError
        If there are not enough samples.
    """
    # Takes seconds to import, and only this needs it.
    from sklearn.manifold import TSNE

    count, size = draws.samples.shape[:2]
    if count * (size // pairs) < embeddings:
        raise InputError(
            f"pairs of {dataset}: expected {embeddings} times {pairs} of them, "
            f"found {count} draws of {size}"
        )
    # Pairs from all of a draw, since matched noises get farther along it.
    step = size // pairs
    parts = [(draw, first) for first in range(step) for draw in range(count)]
    rows, first_points = [], {}
    for kind in draws.kinds:
        noises = draws.noises(kind)
        for number, (draw, first) in enumerate(parts[:embeddings]):
            chosen = slice(first, first + pairs * step, step)
            points = np.concatenate([draws.samples[draw, chosen], noises[draw, chosen]])
            tsne = TSNE(
                init="pca",
                method="exact",
                perplexity=perplexity,
                random_state=stream_seed(draws.seed, "tsne", number) % 2**32,
            )
            plane = tsne.fit_transform(points.reshape(2 * pairs, -1)).reshape(2, pairs, 2)
            first_points.setdefault(f"{kind.name}-{kind.match_size}", plane)
            rows.append(
                {
                    "dataset": dataset,
                    "kind": kind.name,
                    "match_size": kind.match_size,
                    "seed": draws.models[draw] if draws.models else None,
                    "draw": number,
                    "pairs": pairs,
                    "perplexity": perplexity,
                    "crossings": crossings_of(plane[1], plane[0]),
                }
            )
    write_table(path, rows, CROSSING_COLUMNS)
    with atomic_path(embedding) as partial, open(partial, "wb") as file:
        np.savez(file, **first_points)
