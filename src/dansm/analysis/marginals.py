"""What couplings do to the noise, conditional on nothing, beside what Gaussian noise would show.

A coupling chooses which noise a sample gets. Whether training then still sees N(0, I) depends on
how much of the stream one looks at, so the same statistics are taken over windows of it: each
batch, the first batch of each pool, each whole pool, all. Beside each value stands the interval
that it has in 99.9 % of streams of independent Gaussian noises. The intervals are exact; only that
of the spread of ‖z‖² is a gamma distribution's with the right mean and variance.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import gammaln, hyp1f1
from scipy.stats import chi2, gamma, kstwo, norm
from scipy.stats import t as student_t
from torch import Tensor

from dansm.catalogue import COUPLINGS, Pick
from dansm.couplings import Batch
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.tables import MARGINAL_COLUMNS, coupling_columns, write_table
from dansm.randomness import generator, stream_seed
from dansm.training.inputs import coupling_inputs, make_run_coupling

CONFIDENCE = 0.999


class MeasuredCoupling(NamedTuple):
    """A coupling, and the file of potentials that it may need."""

    coupling: Pick
    potentials: Path | None = None

    @property
    def claim(self) -> str:
        """Over what its noise is Gaussian, as its entry says."""
        return COUPLINGS[self.coupling.name].gaussian_over(self.coupling.options)

    @property
    def pool(self) -> int:
        """Noises of a pool or set, 0 where there is none."""
        return self.coupling.options["match_size"] if self.claim in ("pool", "set") else 0


class Window(NamedTuple):
    """Parts of a stream: the first ``size`` of every ``every`` pairs."""

    name: str
    size: int
    every: int


class Stream(NamedTuple):
    """Pairs in a coupling's order: noise and samples (n, dimensions), and the samples' rows (n,).

    The values are float64; ``pool`` is the number of noises of a pool or set, 0 without;
    ``seconds`` is the time that the coupling took, loading excluded.
    """

    noise: Tensor
    samples: Tensor
    rows: Tensor
    pool: int
    seconds: float = math.nan


class Measured(NamedTuple):
    """A value, and the interval in which Gaussian noise would have it; NaN where there is none."""

    value: float
    low: float
    high: float


def measure_coupling_marginals(
    store: Store,
    couplings: Sequence[MeasuredCoupling],
    *,
    dataset: str,
    count: int,
    batch_size: int,
    seed: int,
    path: Path,
) -> None:
    """Write a table of `MARGINAL_COLUMNS`, one row for each coupling, window and statistic.

    ``claim`` is over what the noise is Gaussian, as the coupling says; ``within`` whether the value
    is in theory's interval; ``n`` the pairs measured. The statistics of a window are those of
    `noise_statistics`, and the whole stream also has those of `pair_statistics`.

    Parameters
    ----------
    couplings
        Each gets noise and an order of the samples of its own, so that none shares another's luck.
    dataset
        Name of the dataset.
    count
        Pairs that a stream has at least; it ends with a pool.
    batch_size
        Samples of a batch.
    seed
        Of all orders and noises.
    path
        The table.

    Raises
    ------
    InputError
        If a batch has fewer than 2 samples or more than the stream or the dataset, or if the
        potentials are missing or those of another dataset.
    """
    most = min(count, len(store))
    if not 2 <= batch_size <= most:
        raise InputError(f"batch_size: expected from 2 to {most}, found {batch_size}")
    table = []
    for one in couplings:
        started = time.perf_counter()
        stream = draw_stream(store, one, count=count, batch_size=batch_size, seed=seed)
        n = len(stream.noise)
        for window in _windows(one, n, batch_size, len(store)):
            statistics = noise_statistics(stream, window)
            if window.size == n:
                statistics |= pair_statistics(stream, len(store))
            table += [
                {
                    "dataset": dataset,
                    **coupling_columns(one.coupling),
                    "claim": one.claim,
                    "window": window.name,
                    "window_size": window.size,
                    "statistic": statistic,
                    "value": value,
                    "theory_low": low,
                    "theory_high": high,
                    "within": None if math.isnan(low) else low <= value <= high,
                    "n": n // window.every * window.size,
                }
                for statistic, (value, low, high) in statistics.items()
            ]
        print(f"{one.coupling.text}: {n} pairs, {time.perf_counter() - started:.1f} s", flush=True)
    write_table(path, table, MARGINAL_COLUMNS)


def draw_stream(
    store: Store, measured: MeasuredCoupling, *, count: int, batch_size: int, seed: int
) -> Stream:
    """Return at least ``count`` pairs, whole pools or sets, of a coupling on a dataset.

    The samples come as in training, each epoch in an order of its own, batches running on across
    epochs; they are not flipped. For the parameters see `measure_coupling_marginals`.
    """
    coupling, pool = measured.coupling, measured.pool
    options = {k: v for k, v in coupling.options.items() if k != "match_size"}
    named = (coupling.name, coupling.options.get("match_size", 0), options)
    own = stream_seed(seed, f"marginals {named}")
    batches = _Timed(_batches(store, batch_size, own))
    inputs = coupling_inputs(coupling, store, measured.potentials)
    matched = _Timed(make_run_coupling(coupling, own, inputs).pairs(batches))
    if pool:
        count = math.ceil(count / pool) * pool
    taken: list[tuple[Tensor, Tensor, Tensor]] = []
    while sum(len(rows) for *_, rows in taken) < count:
        pair = next(matched)
        taken.append((pair.noise.flatten(1), pair.samples.flatten(1), pair.extras["row"]))
    noise, samples, rows = (torch.cat(parts) for parts in zip(*taken, strict=True))
    # A share of what the stream's last batch goes beyond the count.
    seconds = (matched.seconds - batches.seconds) * count / len(rows)
    noise, samples, rows = noise[:count], samples[:count], rows[:count]
    return Stream(noise.double(), samples.double(), rows, pool, seconds)


def noise_statistics(stream: Stream, window: Window) -> dict[str, Measured]:
    """Return what the noise shows in windows of a stream, of two pairs or more each.

    With the noises z of a window and d dimensions:

    - ``mean_norm``: ‖mean z‖, root mean square over windows;
    - ``mean_largest``: the largest coordinate of the means, in absolute value;
    - ``variance``: the average of all coordinates' variances;
    - ``variance_deviation``: the largest deviation of one of them from 1;
    - ``square_norm_mean``: the mean of ‖z‖², d for N(0, I);
    - ``square_norm_sd``: its standard deviation, √(2d) for N(0, I), root mean square over windows;
    - ``square_norm_ks``: the largest Kolmogorov–Smirnov distance of a window's ‖z‖² from
      chi-square with d degrees of freedom;
    - ``square_norm_p``: the probability that the largest is as large as that, or larger;
    - ``sample_correlation``: correlation of a pair's coordinates, the window's means aside: what a
      coupling is for, so outside of theory but for independent noise;
    - ``distinct``: share of different noises in a window.
    """
    whole = len(stream.noise) // window.every
    z, x = (  # (windows, size, dimensions)
        values[: whole * window.every].unflatten(0, (whole, window.every))[:, : window.size]
        for values in (stream.noise, stream.samples)
    )
    k, w, d = z.shape
    mean, variance, square = z.mean(1), z.var(1), z.square().sum(2)
    # The largest distance of a window's empirical distribution function from chi-square's.
    cumulated, steps = chi2.cdf(np.sort(square.numpy(), axis=1), d), np.arange(w + 1) / w
    ks = np.maximum(steps[1:] - cumulated, cumulated - steps[:-1]).max()
    centred = [(values - values.mean(1, keepdim=True)).flatten() for values in (z, x)]
    keys = [hash(row.tobytes()) for row in z.flatten(0, 1).numpy()]
    windows = np.repeat(np.arange(k), w)
    freedom = k * (w - 1) * d
    # The variance of a sample variance, for ‖z‖² with variance 2d and fourth moment 12d(d + 4).
    spread = (12 * d * (d + 4) - (2 * d) ** 2 * (w - 3) / (w - 1)) / w / k
    shape = (2 * d) ** 2 / spread

    def correlation(q: float) -> float:
        angle = student_t.ppf(q, freedom - 1)
        return angle / math.sqrt(freedom - 1 + angle**2)

    return {
        "mean_norm": _measured(
            mean.square().sum(1).mean().sqrt(), lambda q: math.sqrt(chi2.ppf(q, k * d) / (k * w))
        ),
        "mean_largest": _measured(
            mean.abs().max(), lambda q: norm.isf(_each(q, k * d) / 2) / math.sqrt(w)
        ),
        "variance": _measured(variance.mean(), lambda q: chi2.ppf(q, freedom) / freedom),
        "variance_deviation": _measured(
            (variance - 1).abs().max(), lambda q: _deviation(_each(q, k * d), w - 1)
        ),
        "square_norm_mean": _measured(square.mean(), lambda q: chi2.ppf(q, k * w * d) / (k * w)),
        "square_norm_sd": _measured(
            square.var(1).mean().sqrt(),
            lambda q: math.sqrt(gamma.ppf(q, shape, scale=2 * d / shape)),
        ),
        "square_norm_ks": _measured(ks, lambda q: kstwo.isf(_each(q, k), w)),
        "square_norm_p": _measured(1 - kstwo.cdf(ks, w) ** k, lambda q: q),
        "sample_correlation": _measured(
            torch.nn.functional.cosine_similarity(*centred, dim=0), correlation
        ),
        "distinct": Measured(len(set(zip(windows, keys, strict=True))) / len(keys), 1.0, 1.0),
    }


def pair_statistics(stream: Stream, count: int) -> dict[str, Measured]:
    """Return how a coupling pairs, of a dataset of ``count`` samples.

    - ``pull``: mean of x·z / ‖x‖, 0 for independent noise;
    - ``path_length``: mean of ‖x − z‖; of independent noise its square is a noncentral chi-square;
    - ``microseconds_per_sample``: what the coupling took, on the processor, without preparation;
    - ``drift``: the pull in the first tenth of a pool's or set's life minus that in the last;
      NaN without;
    - ``evenness``: chi-square divergence from uniform of how often each sample is used, less what
      uniform draws show on average (as in `dansm.couplings.Evenness`). Epochs are more
      even than draws, so theory is bounded only above.
    """
    x, z, n = stream.samples, stream.noise, len(stream.noise)
    tiny = torch.finfo(x.dtype).tiny  # nothing is pulled towards a sample of zeros
    pull = (x * z).sum(1) / x.norm(dim=1).clamp_min(tiny)
    drift = Measured(math.nan, math.nan, math.nan)
    if stream.pool:
        lives, tenth = pull.reshape(-1, stream.pool), max(1, stream.pool // 10)
        first, last = lives[:, :tenth], lives[:, -tenth:]
        drift = _measured(
            first.mean() - last.mean(), lambda q: norm.ppf(q) * math.sqrt(2 / first.numel())
        )
    # In whole numbers, so that perfectly even use is exactly at the lower bound.
    squares = int(torch.bincount(stream.rows, minlength=count).square().sum())
    floor = (count - 1) / n
    return {
        "pull": _measured(pull.mean(), lambda q: norm.ppf(q) / math.sqrt(n)),
        "path_length": _path_length(x, z),
        "microseconds_per_sample": Measured(1e6 * stream.seconds / n, math.nan, math.nan),
        "drift": drift,
        "evenness": Measured(
            (count * squares - n * n) / n**2 - floor,
            -floor,
            chi2.ppf((1 + CONFIDENCE) / 2, count - 1) / n - floor,
        ),
    }


def _path_length(x: Tensor, z: Tensor) -> Measured:
    """Return the mean path length, beside that of independent noise with the same samples."""
    n, d = x.shape
    squares = x.square().sum(1).numpy()
    # The mean of the square root of a noncentral chi-square; its square's mean is d + ‖x‖².
    scale = math.sqrt(2) * math.exp(gammaln((d + 1) / 2) - gammaln(d / 2))
    means = scale * hyp1f1(-0.5, d / 2, -squares / 2)
    spread = math.sqrt(max(0.0, float((d + squares - means**2).sum()))) / n
    return _measured(
        (x - z).norm(dim=1).mean(), lambda q: float(means.mean()) + spread * norm.ppf(q)
    )


def _windows(one: MeasuredCoupling, n: int, batch_size: int, samples: int) -> list[Window]:
    """Return the parts of a stream of n pairs in which a coupling's noise is measured."""
    windows = [Window("batch", batch_size, batch_size)]
    if one.pool:
        windows.append(Window("first batch", min(batch_size, one.pool), one.pool))
        windows.append(Window(one.claim, one.pool, one.pool))
    if one.claim == "fixed set":  # no noise comes twice in the first epoch's whole batches
        windows.append(Window("fixed set", min(samples, n) // batch_size * batch_size, n))
    return [*windows, Window("stream", n, n)]


class _Timed(Iterator[Any]):
    """An iterator over another one that adds up the seconds spent in it."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self.seconds = 0.0

    def __next__(self) -> Any:
        started = time.perf_counter()
        try:
            return next(self._source)
        finally:
            self.seconds += time.perf_counter() - started


def _batches(store: Store, size: int, seed: int) -> Iterator[Batch]:
    """Yield batches without end, each epoch in an order of its own."""
    rows, epoch = torch.empty(0, dtype=torch.int64), 0
    while True:
        while len(rows) < size:
            order = torch.randperm(len(store), generator=generator(seed, "order", epoch))
            rows, epoch = torch.cat([rows, order]), epoch + 1
        taken, rows = rows[:size], rows[size:]
        yield Batch(store.batch(taken.numpy()), {"row": taken})


def _measured(value: Tensor | float, quantile: Callable[[float], float]) -> Measured:
    """Return a value with the quantiles that bound the central interval."""
    tail = (1 - CONFIDENCE) / 2
    return Measured(float(value), float(quantile(tail)), float(quantile(1 - tail)))


def _each(q: float, count: int) -> float:
    """Return the probability that one of ``count`` values exceeds the quantile q of the largest."""
    return -math.expm1(math.log(q) / count)


def _deviation(exceeding: float, freedom: int) -> float:
    """Return the deviation from 1 that a sample variance exceeds with a probability."""

    def excess(deviation: float) -> float:
        high, low = (1 + deviation) * freedom, (1 - deviation) * freedom
        return chi2.sf(high, freedom) + chi2.cdf(low, freedom) - exceeding

    return float(brentq(excess, 0, 1000))
