"""Ways to pair samples with noises, each set up and repeated as long as it is asked to.

Samples are drawn from N(0, I), outside the clock; noise is drawn inside it, as part of the method.

How a pool's drawing is counted (``greedy``, ``one_by_one``): as its share, ``1 / match_size`` of it
a sample. Matches are timed while at least nine tenths of the pool are left. So the number is an
upper bound: over a pool's life a match costs about half of it. Where pools are smaller than the
batch, a repetition is as many batches as use up a nearly whole number of pools, drawing included.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from dansm.couplings import Batch, Coupling, Greedy, Potentials, make_coupling
from dansm.couplings.potentials import Evenness, dataset_sha256
from dansm.randomness import generator

_LOOM_SAMPLES = 50_000  # of its dataset; its cost does not depend on them


class Cell(NamedTuple):
    """What is measured, and where; a size is None where the method has no such."""

    method: str
    match_size: int | None
    dimensions: int
    batch_size: int | None
    device: str = "cpu"


class Repetition(NamedTuple):
    """So many samples took so long."""

    samples: int
    seconds: float


Repetitions = Callable[[Cell, int], Iterator[Repetition]]


@dataclass(frozen=True)
class TimedMethod:
    """One way to pair samples with noises, or a part of one to compare with.

    Attributes
    ----------
    repetitions
        Called with cell and seed: sets up, then repeats the work as long as it is asked to.
    sized, batched
        Whether it has a match size, and takes batches.
    memory
        Expected bytes by match size and dimensions; what a batch needs is not counted.
    growth
        The time of a long repetition grows at least with this power of the match size or batch.
    remark
        What a reader of the numbers must know.
    library
        What it needs and an installation may lack; it is not measured then.
    """

    repetitions: Repetitions
    sized: bool = True
    batched: bool = True
    memory: Callable[[int, int], int] = lambda match_size, dimensions: 0
    growth: int = 1
    remark: str = ""
    library: str | None = None


def match_one_by_one(samples: Tensor, pool: Tensor) -> tuple[Tensor, Tensor]:
    """Match as the paper describes it: each sample takes the nearest noise, which is removed.

    Parameters
    ----------
    samples
        Shape (n, dimensions).
    pool
        Shape (left, dimensions), n ≤ left.

    Returns
    -------
    noise : Tensor
        Shape (n, dimensions).
    pool : Tensor
        What is left, shape (left − n, dimensions).
    """
    chosen = []
    for sample in samples:
        nearest = int((pool - sample).square().sum(dim=1).argmin())
        chosen.append(pool[nearest].clone())
        pool = torch.cat([pool[:nearest], pool[nearest + 1 :]])
    return torch.stack(chosen), pool


def _one_by_one(cell: Cell, seed: int) -> Iterator[Repetition]:
    shape = (cell.match_size, cell.dimensions)
    samples = _samples(cell, seed)
    for k in count(1):
        drawing, pool = _timed(_drawn, shape, generator(seed, "pool", k), cell.device)
        for _ in range(max(1, cell.match_size // 10)):
            matching, (_, pool) = _timed(match_one_by_one, next(samples), pool)
            yield Repetition(1, matching + drawing / cell.match_size)


def _drawn(shape: tuple[int, int], stream: torch.Generator, device: str) -> Tensor:
    return torch.randn(shape, generator=stream).to(device)


def _greedy(cell: Cell, seed: int) -> Iterator[Repetition]:
    match_size, batch_size = cell.match_size, cell.batch_size
    if match_size < batch_size + 2:  # not a batch after the two single samples below
        yield from _coupled(Greedy(match_size, seed), cell, seed, _filling(match_size, batch_size))
    samples = _samples(cell, seed)
    for k in count():
        coupling = Greedy(match_size, seed + k)
        # The first of two samples comes with a new pool.
        (first, _), (second, _) = (_timed(coupling.match, next(samples)[:1]) for _ in range(2))
        drawing = max(0.0, first - second)
        for _ in range(max(1, match_size // (10 * batch_size))):
            matching, _ = _timed(coupling.match, next(samples))
            yield Repetition(batch_size, matching + drawing * batch_size / match_size)


def _semidiscrete(cell: Cell, seed: int) -> Iterator[Repetition]:
    # Neither the samples' values nor what the potentials were fitted to changes the cost.
    samples = torch.ones(cell.match_size, cell.dimensions)
    potentials = Potentials(
        values=torch.randn(cell.match_size, generator=generator(seed, "potentials")),
        dataset_sha256=dataset_sha256(samples),
        steps=0,
        evenness=Evenness(0, 0.0, 0.0, 0.0, 0.0),
    )
    coupling = make_coupling("semidiscrete", seed=seed, samples=samples, potentials=potentials)
    return _coupled(coupling, cell, seed)


def _loom(cell: Cell, seed: int) -> Iterator[Repetition]:
    shape = (cell.dimensions,)
    return _coupled(make_coupling("loom", seed=seed, count=_LOOM_SAMPLES, shape=shape), cell, seed)


def _of_coupling(name: str, **options: Any) -> Repetitions:
    def repetitions(cell: Cell, seed: int) -> Iterator[Repetition]:
        size = cell.match_size or 0
        return _coupled(make_coupling(name, match_size=size, seed=seed, **options), cell, seed)

    return repetitions


def _coupled(coupling: Coupling, cell: Cell, seed: int, batches: int = 1) -> Iterator[Repetition]:
    """Pair ``batches`` batches a repetition; where their size does not matter, each fills a set."""
    size = cell.batch_size or cell.match_size
    samples = _samples(cell, seed, size)
    for k in count():
        rows = torch.arange(k * size, (k + 1) * size) % _LOOM_SAMPLES
        taken = [Batch(next(samples), {"row": rows}) for _ in range(batches)]
        seconds, _ = _timed(lambda taken=taken: deque(coupling.pairs(taken), maxlen=0))
        yield Repetition(batches * size, seconds)


def _torchcfm_exact(cell: Cell, seed: int) -> Iterator[Repetition]:
    from torchcfm.optimal_transport import OTPlanSampler

    sampler = OTPlanSampler(method="exact")
    return _of(lambda x: sampler.sample_plan(torch.randn_like(x), x), _samples(cell, seed))


def _pot_emd(cell: Cell, seed: int) -> Iterator[Repetition]:
    import ot

    samples = _samples(cell, seed)
    pairs = zip(samples, samples, strict=True)
    costs = (torch.cdist(x, z).square().double().numpy() for x, z in pairs)
    return _of(lambda costs: ot.emd([], [], costs), costs)


def _scipy(cell: Cell, seed: int) -> Iterator[Repetition]:
    samples = _samples(cell, seed, cell.match_size)
    pairs = zip(samples, samples, strict=True)
    return _of(linear_sum_assignment, (-(x @ z.T).double().numpy() for x, z in pairs))


def _matmul(cell: Cell, seed: int) -> Iterator[Repetition]:
    pool = torch.ones(cell.match_size, cell.dimensions)
    return _of(lambda samples: samples @ pool.T, _samples(cell, seed))


def _of(work: Callable[[Any], Any], inputs: Iterator[Any]) -> Iterator[Repetition]:
    """Time the work on each input, an array with one row a sample."""
    for given in inputs:
        seconds, _ = _timed(work, given)
        yield Repetition(len(given), seconds)


def _samples(cell: Cell, seed: int, size: int | None = None) -> Iterator[Tensor]:
    """Yield batches of samples, shape (size, dimensions), float32; of the cell's size or 1."""
    stream = generator(seed, "samples")
    while True:
        yield _drawn((size or cell.batch_size or 1, cell.dimensions), stream, cell.device)


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    start = _now()
    result = work(*arguments)
    return _now() - start, result


def _now() -> float:
    """Return the time at which all work given to a GPU, if one is in use, is done."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _filling(match_size: int, batch_size: int) -> int:
    """Return the least number of batches whose samples use up a nearly whole number of pools."""
    return next(
        batches
        for batches in count(-(-match_size // batch_size))
        if batches * batch_size % match_size <= 0.05 * batches * batch_size
    )


def _bytes(arrays: float, square: float = 0) -> Callable[[int, int], int]:
    """Return the memory of so many float32 arrays (match size, dimensions) and (match size)²."""
    return lambda match_size, dimensions: int(
        4 * match_size * (arrays * dimensions + square * match_size)
    )


METHODS = {
    "matmul": TimedMethod(_matmul, memory=_bytes(1), remark="the product alone"),
    "greedy": TimedMethod(_greedy, memory=_bytes(1)),
    "one_by_one": TimedMethod(_one_by_one, batched=False, memory=_bytes(3)),
    "hungarian": TimedMethod(
        _of_coupling("hungarian"), batched=False, memory=_bytes(4, square=3), growth=2
    ),
    "scipy": TimedMethod(
        _scipy,
        batched=False,
        memory=_bytes(2, square=3),
        growth=2,
        remark="the assignment alone, costs ready",
    ),
    "knn": TimedMethod(_of_coupling("knn")),
    # The dataset, and as much again while it is checked for infinities.
    "semidiscrete": TimedMethod(
        _semidiscrete,
        memory=_bytes(2.5),
        remark="match size = samples of the dataset; potentials ready",
    ),
    "independent": TimedMethod(_of_coupling("independent"), sized=False),
    "immiscible": TimedMethod(_of_coupling("immiscible"), sized=False),
    "immiscible_quantized": TimedMethod(_of_coupling("immiscible", quantized=True), sized=False),
    "minibatch_ot_exact": TimedMethod(_of_coupling("minibatch_ot", method="exact"), sized=False),
    "minibatch_ot_sinkhorn": TimedMethod(
        _of_coupling("minibatch_ot", method="sinkhorn"), sized=False, growth=2
    ),
    "loom": TimedMethod(_loom, sized=False, remark=f"{_LOOM_SAMPLES:,} samples in the dataset"),
    "torchcfm_exact": TimedMethod(_torchcfm_exact, sized=False, library="torchcfm"),
    "pot_emd": TimedMethod(
        _pot_emd, sized=False, remark="the plan alone, costs ready", library="ot"
    ),
}


def time_cell(
    cell: Cell, seed: int, *, seconds: float, repetitions: int, limit_seconds: float
) -> dict[str, float]:
    """Measure one cell in this process.

    Parameters
    ----------
    cell, seed
        What to measure.
    seconds
        After which no repetition begins, apart from the first four; those are left out too where
        the first one took a tenth of ``limit_seconds``.
    repetitions
        At most; the first fifth warms up.

    Returns
    -------
    dict
        ``microseconds_per_sample``, the median over repetitions, with its quartiles ``low`` and
        ``high``; ``samples_timed``; ``seconds``: what set-up and first repetition took.
    """
    repeated = METHODS[cell.method].repetitions(cell, seed)
    first_seconds, first = _timed(next, repeated)
    done = [first]
    stop = time.perf_counter() + seconds
    least = 4 if first_seconds < limit_seconds / 10 else 1
    while len(done) < repetitions and (
        len(done) < least or time.perf_counter() < stop - first.seconds
    ):
        done.append(next(repeated))
    steady = done[math.ceil(len(done) / 5) :] or done  # the others were warming up
    times = [1e6 * repetition.seconds / repetition.samples for repetition in steady]
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75]).tolist()
    return {
        "samples_timed": sum(repetition.samples for repetition in steady),
        "microseconds_per_sample": median,
        "low": low,
        "high": high,
        "seconds": first_seconds,
    }
