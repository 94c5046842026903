"""Potentials of a dataset: what makes semidiscrete optimal transport use all samples evenly.

Fitted once (Mousavi-Hosseini et al., arXiv 2509.25519, section 3) and stored; see
`dansm.couplings.semidiscrete` for the coupling that uses them.
"""

import hashlib
import itertools
import json
import math
import os
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dansm.couplings.base import (
    check_costs,
    check_integers,
    check_memory,
    check_samples,
    compute_dtype,
    products,
    undisturbed,
    whole_number,
)
from dansm.couplings.metric import Weigh, weigh
from dansm.randomness import generator, normal

_BLOCK = 16384  # samples of the dataset in one product: a batch of 1 024 needs 64 MiB of scores
_MEASURED_BATCH = 1024
_LARGEST_STEP = 0.05  # of the scale of scores; above it, large batches on small datasets oscillate


@dataclass(frozen=True)
class Evenness:
    """How evenly fresh noises use the samples, beside what perfectly uniform draws would show.

    With M noises, counts c_j and N samples in K classes (one, unless the classes count), each of
    which gets its samples' share of the noises exactly:

    Attributes
    ----------
    noises
        M.
    chi_square
        N Σ (c_j/M)² − 1, the chi-square divergence of usage from uniform; 0 is even.
    chi_square_floor
        Its expectation under uniform draws, (N − K)/M. The difference of the two estimates the
        divergence of the coupling itself (the paper's convergence criterion).
    total_variation
        ½ Σ |c_j/M − 1/N|, between 0 and 1.
    total_variation_floor
        Its expectation under uniform draws.
    """

    noises: int
    chi_square: float
    chi_square_floor: float
    total_variation: float
    total_variation_floor: float


@dataclass(frozen=True, eq=False)
class Potentials:
    """Potentials of a dataset.

    Attributes
    ----------
    values
        Shape (N,), float32 or float64, on the CPU.
    dataset_sha256
        Of the samples they were fitted to; see `dataset_sha256`.
    steps
        Steps of the fit.
    evenness
        As measured after the fit with noises that the fit has not seen.
    classes_sha256
        Of the classes within which they were fitted, if they were; see `classes_sha256`.
    metric
        In which samples and noises were compared; see `dansm.couplings.metric`.
    seconds
        Wall-clock time of the fit, its measured evenness aside.
    """

    values: Tensor
    dataset_sha256: str
    steps: int
    evenness: Evenness
    classes_sha256: str | None = None
    metric: str = "euclidean"
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write an npz file, complete as soon as it has its name; its folder is made if need be."""
        meta = asdict(self)
        values = meta.pop("values").numpy()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with open(partial, "wb") as file:
                np.savez(file, values=values, meta=np.array(json.dumps(meta)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(
        cls,
        path: Path,
        samples: Tensor | None = None,
        classes: Tensor | None = None,
        metric: str = "euclidean",
    ) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.
        samples
            If given, shape (N, ...): the dataset that the potentials must belong to.
        classes
            Those within which they must have been fitted to it, shape (N,); None for potentials
            over all samples.
        metric
            That in which they must have been fitted to it.

        Raises
        ------
        ValueError
            If the file is missing or damaged, or belongs to another dataset, other classes or
            another metric.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                values = torch.from_numpy(file["values"])
                meta = json.loads(str(file["meta"]))
                evenness = Evenness(**meta.pop("evenness"))
                potentials = cls(values=values, evenness=evenness, **meta)
        except FileNotFoundError as error:
            raise ValueError(f"{path}: expected potentials, found no file") from error
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: expected an npz file of potentials, found another or a damaged one "
                f"({error})"
            ) from error
        try:
            potentials.check(samples, classes, metric)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return potentials

    def check(
        self, samples: Tensor | None, classes: Tensor | None = None, metric: str = "euclidean"
    ) -> None:
        """Raise ``ValueError`` unless they are finite numbers, fitted to what is given.

        That is samples (N, ...) in a metric, within classes (N,) or, without any, over all samples.
        """
        values = self.values
        if values.ndim != 1 or values.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                "potentials: expected shape (N,) of float32 or float64, found shape "
                f"{tuple(values.shape)} of {values.dtype}"
            )
        if not bool(values.isfinite().all()):
            raise ValueError("potentials: expected finite values, found NaN or infinity")
        if samples is None:
            return
        within = None if classes is None else classes_sha256(classes)
        for text, wanted, own in (
            ("those of the metric {!r}, found those of {!r}", metric, self.metric),
            ("{} for as many samples, found {}", len(samples), len(values)),
            (
                "those of the dataset {:.12}…, found those of {:.12}…",
                dataset_sha256(samples),
                self.dataset_sha256,
            ),
            ("those fitted {}, found {}", _within(within), _within(self.classes_sha256)),
        ):
            if wanted != own:
                raise ValueError(f"potentials: expected {text.format(wanted, own)}")


def _within(digest: str | None) -> str:
    return "over all samples" if digest is None else f"within the classes {digest}"


def dataset_sha256(samples: Tensor) -> str:
    """Return the SHA-256 of samples (N, ...): of their shape and values in float32 or wider."""
    digest = hashlib.sha256(repr(tuple(samples.shape)).encode())
    for block in samples.split(_BLOCK):
        digest.update(block.to(compute_dtype(samples)).cpu().contiguous().numpy())
    return digest.hexdigest()


def classes_sha256(classes: Tensor) -> str:
    """Return the SHA-256 of classes (N,): of their values in int64."""
    return hashlib.sha256(classes.cpu().long().contiguous().numpy()).hexdigest()


class Classes(NamedTuple):
    """The classes of a dataset, by their place among the labels in use."""

    labels: Tensor  # (K,), int64, CPU, ascending
    of: Tensor  # (N,), int64, on the samples' device
    rows: tuple[Tensor, ...]  # of each class, on the samples' device
    sizes: Tensor  # (K,), int64, on the samples' device


def sort_by_class(samples: Tensor, classes: Tensor | None) -> Classes:
    """Sort the samples by class; without classes all are of one."""
    if classes is None:
        classes = torch.zeros(len(samples), dtype=torch.int64)
    found = check_integers("classes", classes, len(samples))
    labels, of, sizes = found.unique(return_inverse=True, return_counts=True)
    of, device = of.to(samples.device), samples.device
    rows = of.argsort(stable=True).split(sizes.tolist())
    return Classes(labels, of, rows, sizes.to(device))


def assign(
    flat: Tensor,
    potentials: Tensor,
    noise: Tensor,
    block: int = _BLOCK,
    rows: Tensor | None = None,
) -> Tensor:
    """Return for each noise the row of the sample of largest x·z + g.

    Parameters
    ----------
    flat
        Samples, shape (N, d), any float dtype.
    potentials
        Shape (N,), float32 or wider, on the samples' device.
    noise
        Shape (n, d), of the potentials' dtype and device.
    block
        Samples that are scored at a time: memory is O(n × block), and that of a block of samples
        where their dtype is another or rows are given.
    rows
        Rows of the samples to choose from, shape (r,); all unless given.

    Returns
    -------
    Tensor, shape (n,), int64
        Of several equal scores the first row.

    Raises
    ------
    ValueError
        If the largest scores are not finite.
    """
    best = chosen = None
    held = min(len(flat), block) * (len(noise) + flat.shape[1])
    check_memory(f"a batch of {len(noise)}", held * noise.element_size(), noise.device)
    for first in range(0, len(flat) if rows is None else len(rows), block):
        own = slice(first, first + block)
        if rows is not None:
            own = rows[own]
        top, row = products(noise, flat[own].to(noise), potentials[own]).max(dim=1)
        if best is None:
            best, chosen = top, row
        else:
            chosen = torch.where(top > best, row + first, chosen)
            best = torch.maximum(top, best)
    check_costs(best, flat)
    return chosen if rows is None else rows[chosen]


def assign_within(
    flat: Tensor, potentials: Tensor, noise: Tensor, wanted: Tensor, classes: Classes
) -> Tensor:
    """Assign each noise a sample of the class it wants, by the class's place; see `assign`."""
    if len(classes.rows) == 1:
        return assign(flat, potentials, noise)
    chosen = torch.empty_like(wanted)
    for place in wanted.unique().tolist():
        own = wanted == place
        chosen[own] = assign(flat, potentials, noise[own], rows=classes.rows[place])
    return chosen


@undisturbed()
def measure_evenness(
    samples: Tensor,
    potentials: Tensor,
    *,
    seed: int,
    per_sample: int = 20,
    classes: Tensor | None = None,
    metric: str = "euclidean",
) -> Evenness:
    """Return how evenly ``per_sample`` × N fresh noises use the samples.

    Parameters
    ----------
    samples
        Shape (N, ...), finite floats.
    potentials
        Shape (N,).
    seed
        Of the noises; their streams are not those of the fit or of training.
    per_sample
        Noises for each sample.
    classes
        Shape (N,), integers, if the potentials are those of classes: each class gets
        ``per_sample`` noises for each of its samples.
    metric
        That of the potentials.
    """
    # Takes a second to import, and only this needs it.
    from scipy.stats import binom

    flat, count, known = samples.flatten(1), len(samples), sort_by_class(samples, classes)
    weighed = weigh(flat, metric)
    potentials = potentials.to(flat.device, compute_dtype(flat))
    noises = per_sample * count
    ordered = known.of.sort().values
    used = torch.zeros(count, dtype=torch.int64, device=flat.device)
    for first in range(0, noises, _MEASURED_BATCH):
        stream = generator(seed, "evenness", first)
        size = min(_MEASURED_BATCH, noises - first)
        noise = normal((size, flat.shape[1]), stream).to(potentials)
        wanted = ordered[torch.arange(first, first + size, device=flat.device) // per_sample]
        rows = assign_within(flat, potentials, weighed(noise), wanted, known)
        used += torch.bincount(rows, minlength=count)
    share = used.double() / noises
    # De Moivre's mean absolute deviation of a binomial count with mean per_sample.
    least, sizes = per_sample + 1, known.sizes.cpu().numpy()
    deviations = 2 * least * (1 - 1 / sizes) * binom.pmf(least, per_sample * sizes, 1 / sizes)
    return Evenness(
        noises=noises,
        chi_square=float(count * share.square().sum() - 1),
        chi_square_floor=(count - len(sizes)) / noises,
        total_variation=float((share - 1 / count).abs().sum() / 2),
        total_variation_floor=float((sizes * deviations).sum() / noises / 2),
    )


@undisturbed()
def fit_potentials(
    samples: Tensor,
    *,
    seed: int,
    steps: int = 4000,
    batch_size: int = 1024,
    learning_rate: float = 1.0,
    progress: bool = True,
    classes: Tensor | None = None,
    metric: str = "euclidean",
) -> Potentials:
    """Fit the potentials by averaged stochastic ascent on the semidual.

    Step k draws fresh noises and moves each g_j along 1/N − (share of noises that took j), the
    semidual's gradient. A step is measured in the scale of the scores and falls with one over the
    root of the noises seen per sample; the result is the average of the iterates with weights k.
    Averaging makes it insensitive to the rate (a factor of five changes little) and nearly as good
    as its noises allow: the chi-square divergence ends at about 4/3 · N / (steps · batch_size), so
    to be even beyond chance over E epochs, ``steps · batch_size`` should be well above E · N. Many
    samples in few dimensions (hundreds on a line) need far more steps; the evenness tells.

    Exact duplicates in the dataset have one cell between them, which the highest of their
    potentials takes: evenness counts that, although it changes nothing for training.

    With classes, each noise takes a sample of the class of a sample drawn at random, and g_j moves
    along (share of noises of its class) / (size of its class) − (share of noises that took j).

    Parameters
    ----------
    samples
        Shape (N, ...), any float dtype; the work is done on their device.
    seed
        Seed of the noises: step k draws from ``generator(seed, "potentials", k)``.
    steps
        Number of steps.
    batch_size
        Noises of a step. What counts is ``steps · batch_size``.
    learning_rate
        Multiplies all steps.
    progress
        Show a progress bar.
    classes
        Shape (N,), integers: fit within each class, for ``semidiscrete`` with labels.
    metric
        In which samples and noises are compared; see `dansm.couplings.metric`.

    Raises
    ------
    ValueError
        If the samples are fewer than two, not floats, not finite or so large that their scores are
        not, if the classes are not one integer a sample, if the metric is unknown or does not suit
        them, or if a number is out of range.
    """
    started = time.perf_counter()
    check_samples(samples)
    if len(samples) < 2:
        raise ValueError(f"samples: expected at least 2, found {len(samples)}")
    steps, batch_size = whole_number("steps", steps, 1), whole_number("batch_size", batch_size, 1)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate {learning_rate}: expected a finite number above 0")
    known = sort_by_class(samples, classes)
    ascent = ascend(
        samples,
        known,
        seed=seed,
        batch_size=batch_size,
        learning_rate=learning_rate,
        metric=metric,
    )
    for _ in tqdm(range(steps), desc="potentials", mininterval=1, disable=not progress):
        average = next(ascent)
    for rows in known.rows:  # only differences within a class matter
        average[rows] -= average[rows].mean()
    seconds = time.perf_counter() - started
    return Potentials(
        values=average.cpu(),
        dataset_sha256=dataset_sha256(samples),
        steps=steps,
        evenness=measure_evenness(samples, average, seed=seed, classes=classes, metric=metric),
        seconds=seconds,
        metric=metric,
        classes_sha256=None if classes is None else classes_sha256(classes),
    )


def ascend(
    samples: Tensor,
    known: Classes,
    *,
    seed: int,
    batch_size: int,
    learning_rate: float,
    metric: str,
) -> Iterator[Tensor]:
    """Yield, after each step of `fit_potentials`, the average of the iterates, without end.

    Parameters
    ----------
    samples
        Shape (N, ...), checked.
    known
        Their classes.
    seed, batch_size, learning_rate, metric
        As for `fit_potentials`.

    Yields
    ------
    Tensor, shape (N,), float32 or float64
        On the samples' device; the next step changes it in place.
    """
    flat, count = samples.flatten(1), len(samples)
    current = torch.zeros(count, dtype=compute_dtype(flat), device=flat.device)
    average = current.clone()
    weighed = weigh(flat, metric)
    scale = current.new_tensor([_gap(flat, rows, weighed) for rows in known.rows])[known.of]
    for k in itertools.count():
        stream = generator(seed, "potentials", k)
        noise = normal((batch_size, flat.shape[1]), stream).to(current)
        wanted = known.of[torch.randint(count, (batch_size,), generator=stream).to(flat.device)]
        wishes = torch.bincount(wanted, minlength=len(known.rows)).float()
        fair = (wishes / known.sizes)[known.of]
        chosen = assign_within(flat, current, weighed(noise), wanted, known)
        used = torch.bincount(chosen, minlength=count)
        seen = k * batch_size / count
        rate = min(learning_rate * batch_size / count / math.sqrt(1 + seen), _LARGEST_STEP)
        current += rate * scale * (fair - used) * (count / batch_size)
        average += (current - average) * (2 / (k + 2))
        yield average


def _gap(flat: Tensor, rows: Tensor, weighed: Weigh) -> float:
    """Estimate the gap between a noise's best and second-best score, as of independent scores.

    Of the samples in these rows, the spread of a noise's scores is the root mean square length of
    their weighed difference from their mean, and the largest of N Gaussians leads by about their
    spread / √(2 ln N).
    """
    blocks = rows.split(_BLOCK)
    mean = sum(flat[block].sum(dim=0, dtype=torch.float64) for block in blocks) / len(rows)
    square = sum(float(weighed(flat[block] - mean).square().sum()) for block in blocks)
    return math.sqrt(square / len(rows) / (2 * math.log(max(2, len(rows)))))
