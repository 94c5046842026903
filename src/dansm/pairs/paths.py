"""Noise-sample pairs: random, matched and preferable noises of the same samples.

The preferable noise of a sample is the one from which a trained model generates it (paper,
section 3). So the samples are a model's own, and random and matched noises are paired with them
too. Without a trained model the samples are the dataset's, and there is no preferable noise.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dansm.couplings import make_coupling
from dansm.errors import InputError
from dansm.geometry import nearest_in_batch, path_length, path_separation
from dansm.io.arrays import read_arrays
from dansm.io.tables import PATH_COLUMNS, write_table
from dansm.randomness import generator, image_noises, stream_seed

# Evaluation makes images from the first noises on; nobody evaluates so many.
FIRST_IMAGE = 10**9
_BATCH = 250  # samples matched at a time


class Kind(NamedTuple):
    """A kind of noise: ``random``, ``matched`` or ``preferable``.

    ``coupling`` and ``match_size`` are what paired the noises; those of preferable ones are what
    the model was trained with.
    """

    name: str
    coupling: str
    match_size: int


RANDOM = Kind("random", "independent", 0)
PREFERABLE = Kind("preferable", "independent", 0)


def preferable_noises(count: int, shape: Sequence[int], first: int = 0) -> Tensor:
    """Return the noises that models generate pairs from; evaluation uses none of them."""
    return image_noises(FIRST_IMAGE + first, count, tuple(shape))


class PairDraws(NamedTuple):
    """Samples in draws, with what their noises are drawn from.

    ``samples`` has shape (draws, n, channels, height, width). ``models`` are the seeds of those
    that generated each draw, sample k of all from noise k of `preferable_noises`; samples that are
    stored have none.
    """

    samples: Tensor
    models: tuple[int, ...]
    match_sizes: tuple[int, ...]
    seed: int

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of noise that these samples have."""
        matched = [Kind("matched", "greedy", size) for size in self.match_sizes]
        return [RANDOM, *matched, *([PREFERABLE] if self.models else [])]

    def noises(self, kind: Kind) -> Tensor:
        """Return the noises of a kind, of the samples' shape.

        A pool's first noises are near and its last are leftovers. So each draw has pools of its
        own, the draw's samples are spread evenly over their life, and others of the samples are
        matched between them.
        """
        if kind.name == "random":
            return torch.randn(self.samples.shape, generator=generator(self.seed, "random-pairs"))
        if kind.name == "preferable":
            draws, count, *shape = self.samples.shape
            return preferable_noises(draws * count, shape).reshape(self.samples.shape)
        return self._matched(kind.match_size)

    def _matched(self, match_size: int) -> Tensor:
        draws, count = self.samples.shape[:2]
        seed = stream_seed(self.seed, "matched-pairs", match_size)
        coupling = make_coupling("greedy", match_size=match_size, seed=seed)
        everything = self.samples.flatten(0, 1)
        life = -(-count // match_size) * match_size  # of whole pools
        places = torch.arange(count) * life // count
        noises = []
        for draw in range(draws):
            rows = torch.randint(draws * count, (life,), generator=generator(seed, "others", draw))
            rows[places] = torch.arange(draw * count, (draw + 1) * count)
            matched = [coupling.match(everything[part]) for part in rows.split(_BATCH)]
            noises.append(torch.cat(matched)[places])
        return torch.stack(noises)


def read_pairs(path: Path) -> PairDraws:
    """Read what `dansm.pairs.draws.draw_pairs` wrote.

    Raises
    ------
    InputError
        If the file or one of its arrays is missing, or they are not those of pairs.
    """
    arrays = read_arrays(path, what="noise-sample pairs")
    names = ["samples", "models", "match_sizes", "seed"]
    if sorted(arrays) != sorted(names):
        raise InputError(f"{path}: expected arrays {names}, found {sorted(arrays)}")
    samples, models, match_sizes, seed = (arrays[name] for name in names)
    if samples.ndim != 5 or samples.dtype != np.float32:
        raise InputError(
            f"{path}: expected samples of shape (draws, n, channels, height, width) in "
            f"float32, found shape {samples.shape} in {samples.dtype}"
        )
    if models.ndim != 1 or len(models) not in (0, len(samples)):
        raise InputError(
            f"{path}: models: expected one of each of {len(samples)} draws or none, found shape "
            f"{models.shape}"
        )
    sizes = tuple(match_sizes.tolist())
    return PairDraws(torch.from_numpy(samples), tuple(models.tolist()), sizes, int(seed))


def measure_paths(pairs: PairDraws, batch_sizes: Sequence[int], dataset: str, path: Path) -> None:
    """Write a table of `PATH_COLUMNS`: the paths of each kind of noise, draw by draw.

    ``seed`` is that of the model which generated the draw. Quantities are ``path_length``
    (‖x − z‖, the draw's mean), ``inter_path_average`` and ``inter_path_minimum`` (the distance of a
    path to the other paths of its draw, on average and to the nearest, the mean over paths), and
    ``nearest_share``: the share of samples to which no other noise of their batch is nearer, over
    the draw's whole batches. Of the last, ``pairs`` is the batch size.

    Parameters
    ----------
    batch_sizes
        For ``nearest_share``; at most the samples of a draw.
    dataset
        Its name.
    """
    rows: list[dict[str, object]] = []
    for kind in pairs.kinds:
        named = {"dataset": dataset, "kind": kind.name}
        named |= {"coupling": kind.coupling, "match_size": kind.match_size}
        for draw, (samples, noise) in enumerate(
            zip(pairs.samples, pairs.noises(kind), strict=True)
        ):
            separation = path_separation(samples, noise)
            values = {
                "path_length": path_length(samples, noise).double().mean(),
                "inter_path_average": separation.average.mean(),
                "inter_path_minimum": separation.minimum.mean(),
            }
            found = [(name, len(samples), value) for name, value in values.items()]
            for size in batch_sizes:
                whole = len(samples) // size * size
                batches = zip(samples[:whole].split(size), noise[:whole].split(size), strict=True)
                nearest = torch.cat([nearest_in_batch(x, z) for x, z in batches])
                found.append(("nearest_share", size, nearest.double().mean()))
            model = pairs.models[draw] if pairs.models else None
            named |= {"seed": model, "draw": draw}
            rows += [
                {**named, "pairs": n, "quantity": quantity, "value": float(value)}
                for quantity, n, value in found
            ]
    write_table(path, rows, PATH_COLUMNS)
