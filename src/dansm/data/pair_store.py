"""Teacher pairs: noises and the samples that a finished model makes of them.

A store whose rows are trajectories: the noise, the states between where they are kept, and the
sample. Its ``meta.json`` says under ``pairs`` who made them and how.
"""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt
from torch import Tensor
from tqdm import tqdm

from dansm.config import RunSettings
from dansm.data.shards import ShardFolder
from dansm.data.store import ARRAY, open_store, write_store
from dansm.errors import InputError
from dansm.io.files import check_free_space, read_model

_NFE = "nfe"
_NUMBERS = ("count", "steps", "states", "inverted")


class Trajectories(NamedTuple):
    """Trajectories of some pairs, and the network evaluations that each of them took.

    ``points`` has shape ``(n, 2 + states, *shape)``: noise, states between, sample.
    """

    points: Tensor
    nfe: float


@dataclass(frozen=True)
class PairStore:
    """Opened teacher pairs; pair k is row k of every tensor. A source of batches, as a `Store` is.

    The tensors are memory-mapped and must not be written to.

    Attributes
    ----------
    path
        Folder of the store.
    points
        Shape ``(n, 2 + states, *shape)``, float32: noise, states between, sample.
    meta
        What the pairs are: settings of the teacher's run, SHA-256 of its weights, sampler, steps,
        count, states and their times between 0 (noise) and 1 (sample), how many inverted images
        follow those that were generated, network evaluations a pair, and those spent on all of
        them and on their teacher, by what took them.
    sha256
        Of the pairs.
    """

    path: Path
    points: Tensor
    meta: dict[str, Any]
    sha256: str
    has_posterior = False

    def __len__(self) -> int:
        return len(self.points)

    @property
    def noise(self) -> Tensor:
        """Noises, shape ``(n, *shape)``."""
        return self.points[:, 0]

    @property
    def samples(self) -> Tensor:
        """Samples, shape ``(n, *shape)``."""
        return self.points[:, -1]

    def draw(
        self, rows: np.ndarray, mirrored: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Return samples, neither mirrored nor noisy, which would part them from their noise."""
        return self.samples[torch.from_numpy(rows)]

    def check(self, student: RunSettings) -> None:
        """Check that the pairs are those that a run's coupling asks for.

        Raises
        ------
        InputError
            If they are of another dataset, seed or shape than the student's, of another teacher,
            other steps, states or number than its coupling's options say, or were made for another
            folder, whose name says with which sampler.
        """
        teacher, options = self.meta["teacher"], student.coupling.options
        for what, expected, found in (
            ("dataset", student.dataset, teacher["dataset"]),
            ("seed", student.seed, teacher["seed"]),
            ("shape", list(student.shape), list(self.noise.shape[1:])),
            ("teacher", options["teacher"], self.meta["run"]),
            ("sampler", self.path.name, self.meta["folder"]),
            *((key, options.get(key, 0), self.meta[key]) for key in _NUMBERS),
        ):
            if found is not None and expected != found:
                raise InputError(
                    f"{self.path}: expected pairs of {what} {expected} as the student's settings "
                    f"say, found {found}"
                )


class _Teacher(BaseModel, extra="allow"):
    dataset: str
    seed: int | None = None  # of none where a published model made them
    shape: Annotated[list[PositiveInt], Field(min_length=3, max_length=3)]


class _Pairs(BaseModel, extra="allow"):
    teacher: _Teacher
    run: str | None = None  # stores of before say neither
    folder: str | None = None
    count: PositiveInt
    steps: NonNegativeInt
    states: NonNegativeInt
    inverted: NonNegativeInt = 0
    times: list[float]
    spent: dict[str, float] = {}


class _Meta(BaseModel):
    pairs: _Pairs


def open_pairs(folder: Path) -> PairStore:
    """Open teacher pairs after checking everything about them, checksums and values included.

    Raises
    ------
    InputError
        If the store is missing, unfinished, truncated, altered, not finite, or holds no pairs.
    """
    store = open_store(folder)
    if "pairs" not in store.meta or not isinstance(store.array, np.ndarray):
        raise InputError(
            f"{store.path / 'meta.json'}: expected a store of teacher pairs, found one of "
            f"{store.meta['source']}"
        )
    pairs = read_model(store.path / "meta.json", _Meta).pairs.model_dump(mode="json")
    expected = (pairs["count"] + pairs["inverted"], 2 + pairs["states"], *pairs["teacher"]["shape"])
    if store.array.shape != expected:
        raise InputError(
            f"{store.path}: expected pairs of shape {expected} as their teacher makes them, found "
            f"{store.array.shape}"
        )
    with warnings.catch_warnings():  # that the mapped file cannot be written to
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        points = torch.from_numpy(store.array)
    return PairStore(store.path, points, pairs, store.meta["sha256"])


def write_pairs(
    path: Path,
    work: Path,
    make: Callable[[range], Trajectories],
    identity: dict[str, Any],
    times: list[float],
    batch_size: int,
    source: str,
    licence: str,
    spent: dict[str, float],
) -> None:
    """Write teacher pairs, batch by batch; one that was interrupted goes on where it stopped.

    Parameters
    ----------
    path, work
        Folders of the store, and of the batches that are done, until all are.
    make
        Makes some pairs, by their numbers. It is always asked for whole batches, so that a pair
        does not depend on how many there are.
    identity
        What the pairs depend on: ``teacher`` (settings of its ``run``), ``count``, ``steps``,
        ``states``, ``inverted`` and whatever else; it becomes `PairStore.meta`, with the
        ``folder``'s name.
    times
        Times of the states.
    batch_size
        Pairs made at a time.
    source, licence
        Of the store.
    spent
        Network evaluations that the teacher took, by what took them.

    Raises
    ------
    InputError
        If the pairs are not finite, or the disk is too full.
    """
    count = identity["count"] + identity["inverted"]
    shape = (2 + identity["states"], *identity["teacher"]["shape"])
    done = ShardFolder(work, [ARRAY, _NFE], count, batch_size)
    missing = done.take_up(identity)
    # Both the batches and the store that they are joined to.
    check_free_space(work, 4 * prod(shape) * (count + len(missing) * batch_size), path)
    left = sum(len(done.rows_of(batch)) for batch in missing)
    with tqdm(
        total=count, initial=count - left, unit="pairs", desc=path.name, mininterval=1
    ) as progress:
        for batch in missing:
            rows = done.rows_of(batch)
            points, nfe = make(range(rows.start, rows.start + batch_size))
            points = points[: len(rows)].to("cpu", torch.float32).numpy()
            done.write(batch, {ARRAY: points, _NFE: np.full(len(rows), nfe)}, f"{path}, pairs")
            progress.update(len(rows))
    evaluations = np.concatenate([np.load(file) for file in done.files(_NFE)])
    own = {f"pairs {identity['run']} {path.name}": float(evaluations.sum())}
    write_store(
        path,
        (np.load(file) for file in done.files(ARRAY)),
        count=count,
        shape=shape,
        dtype="float32",
        value_range=None,
        # One file, that it can be mapped into memory as one tensor.
        shard_bytes=4 * prod(shape) * count,
        source=source,
        licence=licence,
        extra={
            "pairs": {
                **identity,
                "folder": path.name,
                "times": times,
                "nfe": float(evaluations.mean()),
                "spent": spent | own,
            }
        },
    )
    shutil.rmtree(work)
