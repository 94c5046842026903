"""What every coupling is."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from dansm.randomness import generator

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
# On AMD processors with AVX-512, MKL's product (torch's own) takes twice as long as oneDNN's.
_ONEDNN = (
    torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
)


class Batch(NamedTuple):
    """Training samples with whatever belongs to each of them.

    ``samples`` has shape (n, ...); each tensor in ``extras`` (labels, indices …) has n rows.
    """

    samples: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


class Pairs(NamedTuple):
    """Samples, the noise paired with each, and the samples' extras, all in the same order."""

    samples: Tensor
    noise: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


class Coupling(ABC):
    """Turns a stream of batches into a stream of pairs.

    A coupling may hold batches back, reorder samples or choose them itself; training consumes the
    pairs and assumes nothing about the stream of batches. All that a coupling remembers between
    two pairs, including samples it holds back, is in its state, so that a new coupling which loads
    the state continues the stream. The state says what the coupling is, which is compared on
    loading, and how far it has come. Subclasses define `pair`, or `pairs` if they hold batches
    back.

    Attributes
    ----------
    name
        As the catalogue and the state write it.
    sized
        Whether it has a match size, at least 2; the match size of the others is 0.

    Raises
    ------
    ValueError
        If the match size is another.
    """

    name: str
    sized = False

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        if self.sized and (not isinstance(match_size, int) or match_size < 2):
            raise ValueError(
                f"match_size {match_size}: {self.name} takes a whole number, at least 2"
            )
        if not self.sized and match_size != 0:
            raise ValueError(f"match_size {match_size}: {self.name} takes 0, it has no pool")
        self.match_size = match_size
        self.seed = seed
        self._shape: tuple[int, ...] | None = None  # of one sample
        self._progress: dict[str, Any] = {}

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield pairs, taking batches as they are needed.

        Raises
        ------
        ValueError
            If a batch is empty, not of finite floats, of another shape than those before or the
            dataset's, or so large that its distances to noise are not finite; if an extra has not
            one row a sample; or if one that the coupling needs is missing or no integers: the
            labels, or ``extras["row"]``, each sample's row in the dataset.
        """
        for batch in batches:
            check_extras(batch)
            yield self.pair(batch)

    def pair(self, batch: Batch) -> Pairs:
        """Return as many pairs as the batch has samples; see `pairs`."""
        raise NotImplementedError

    def progress(self) -> dict[str, Any]:
        """Return what changes while matching, as numbers, strings and tensors on the CPU."""
        return deepcopy(self._progress)

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Take up what `progress` returned."""
        self._progress = deepcopy(progress)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as numbers, strings and tensors: what the coupling is, and progress."""
        return {**self._identity(), "progress": self.progress()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same kind of coupling.

        Raises
        ------
        ValueError
            If the state belongs to a coupling of another name, match size, seed or options.
        """
        found = {key: value for key, value in state.items() if key != "progress"}
        if found != self._identity():
            raise ValueError(
                f"state of another coupling: expected {self._identity()}, found {found}"
            )
        self.load_progress(state["progress"])

    def _identity(self) -> dict[str, Any]:
        return {"name": self.name, "match_size": self.match_size, "seed": self.seed}


class OnlineCoupling(Coupling):
    """A coupling that pairs each batch at once: subclasses choose the noise in `matched`."""

    def match(self, samples: Tensor) -> Tensor:
        """Return the noise for each sample.

        Parameters
        ----------
        samples
            Tensor of shape ``(n, ...)``, any float dtype, any device.

        Returns
        -------
        Tensor
            Of the samples' shape, dtype and device; row i belongs to sample i.

        Raises
        ------
        ValueError
            If the samples are empty, not finite, of another shape than those before, or too large
            for their distances to be finite; or if memory is too small for what is matched.
        """
        shape = check_samples(samples, self._shape)
        noise = self.matched(flattened(samples))
        self._shape = shape
        return noise.reshape(samples.shape).to(samples.dtype)

    @abstractmethod
    def matched(self, flat: Tensor) -> Tensor:
        """Return the noise for each sample.

        Parameters
        ----------
        flat
            Samples, shape (n, dimensions), float32 or wider.

        Returns
        -------
        Tensor
            Of the shape, dtype and device of ``flat``.
        """

    def pair(self, batch: Batch) -> Pairs:
        """Return the batch with its noise."""
        return Pairs(batch.samples, self.match(batch.samples), batch.extras)

    def progress(self) -> dict[str, Any]:
        """Return what changes while matching, and the shape of a sample."""
        return {**super().progress(), "shape": self._shape}

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Take up what `progress` returned."""
        super().load_progress(progress)
        self._shape = progress["shape"]


class FreshNoiseCoupling(OnlineCoupling):
    """An online coupling that draws its noise anew for each batch, in `choose`.

    The noise of batch k comes from the stream ``(seed, "noise", k)``, so the number of batches is
    all the progress there is, beside the samples' shape.
    """

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        super().__init__(match_size, seed)
        self._progress = {"batches": 0}

    @abstractmethod
    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the noise for each sample of a batch, as `matched` does.

        ``stream`` is the generator to draw from, on the CPU.
        """

    def matched(self, flat: Tensor) -> Tensor:
        """Return the chosen noise."""
        k = self._progress["batches"]
        noise = self.choose(flat, generator(self.seed, "noise", k))
        self._progress["batches"] = k + 1
        return noise


def compute_dtype(values: Tensor) -> torch.dtype:
    """Return the type to compute in: the values' own, float32 at least."""
    return torch.promote_types(values.dtype, torch.float32)


def flattened(samples: Tensor) -> Tensor:
    """Return samples of shape (n, ...) as (n, dimensions), float32 or wider, without gradient."""
    return samples.detach().flatten(1).to(compute_dtype(samples))


def products(rows: Tensor, columns: Tensor, bias: Tensor) -> Tensor:
    """Return ``rows @ columns.T + bias`` by the faster of torch's products on the device.

    Parameters
    ----------
    rows, columns
        Shapes (n, d) and (m, d), of one dtype and device.
    bias
        Shape (m,).

    Returns
    -------
    Tensor, shape (n, m)
    """
    if not (_ONEDNN and rows.device.type == "cpu" and rows.dtype == torch.float32):
        return linear(rows, columns, bias)
    # oneDNN's results are copied, in parts: two copies of the whole would be more memory than the
    # allocator keeps for the next batch, and getting it anew takes longer than a small product.
    result, rows = rows.new_empty(len(rows), len(columns)), rows.to_mkldnn()
    width = max(1024, -(-len(columns) // 3))
    for first in range(0, len(columns), width):
        part = slice(first, first + width)
        result[:, part] = linear(rows, columns[part], bias[part]).to_dense()
    return result


def free_memory(device: torch.device) -> int:
    """Return the bytes that a tensor on this device may still take."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Torch reserves memory for later use.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        # Unlike the number of free pages this counts what files' caches would give back.
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        found = None
    if found is None:  # not Linux: all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1024 * int(found[1])


def check_samples(
    samples: Tensor, expected: tuple[int, ...] | None = None, source: str = "as before"
) -> tuple[int, ...]:
    """Return the shape of one sample, if the samples are a non-empty batch of finite floats.

    Parameters
    ----------
    samples
        Shape (n, ...).
    expected
        Shape that a sample must have.
    source
        Where that comes from; it ends the message's expectation.

    Raises
    ------
    ValueError
        If they are not, or have another shape.
    """
    if samples.ndim < 2 or samples.shape[0] == 0 or not samples.is_floating_point():
        raise ValueError(
            "samples: expected a non-empty batch of shape (n, ...) of floats, "
            f"found shape {tuple(samples.shape)} of {samples.dtype}"
        )
    if not (_has_finite_sum(samples) or bool(samples.isfinite().all())):
        raise ValueError("samples: expected finite values, found NaN or infinity")
    shape = tuple(samples.shape[1:])
    if expected not in (None, shape):
        wanted = f"(n, {', '.join(map(str, expected))}) {source}"
        raise ValueError(f"samples: expected shape {wanted}, found {tuple(samples.shape)}")
    return shape


def _has_finite_sum(values: Tensor) -> bool:
    """Tell whether the sum is finite, as only that of finite values can be.

    It takes a tenth of the time of ``isfinite().all()``.
    """
    return bool(values.sum(dtype=compute_dtype(values)).isfinite())


def check_extras(batch: Batch) -> None:
    """Raise ``ValueError`` unless each extra of the batch has one row a sample."""
    for key, rows in batch.extras.items():
        if len(rows) != len(batch.samples):
            raise ValueError(
                f"extras: expected {len(batch.samples)} rows of {key!r}, found {len(rows)}"
            )


def check_costs(costs: Tensor, flat: Tensor) -> None:
    """Raise ``ValueError`` unless the samples' costs, one or more rows a sample, are finite."""
    if not _has_finite_sum(costs):
        raise ValueError(
            f"samples: expected values whose distances to noise are finite in {costs.dtype}, "
            f"found a largest value of {flat.abs().max():g}"
        )


def check_integers(name: str, values: Tensor, count: int) -> Tensor:
    """Return values as int64 on the CPU; raise ``ValueError`` unless ``count`` integers."""
    if values.shape != (count,) or values.dtype not in _INTEGERS:
        raise ValueError(
            f"{name}: expected shape ({count},) of integers, found {tuple(values.shape)} of "
            f"{values.dtype}"
        )
    return values.cpu().long()


def batch_labels(batch: Batch, key: str | None) -> Tensor:
    """Return the class of each sample of a batch, shape (n,), int64, on the CPU.

    ``key`` names the extra that holds the classes; without one all samples are of class 0.
    """
    if key is None:
        return torch.zeros(len(batch.samples), dtype=torch.int64)
    return _batch_integers(batch, key, "class")


def batch_rows(batch: Batch, count: int) -> Tensor:
    """Return ``extras["row"]``, shape (n,), int64, on the CPU; rows of a dataset of ``count``."""
    rows = _batch_integers(batch, "row", "row in the dataset")
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
        raise ValueError(
            f"extras['row']: expected rows from 0 to {count - 1}, found {int(rows.min())} to "
            f"{int(rows.max())}"
        )
    return rows


def _batch_integers(batch: Batch, key: str, meaning: str) -> Tensor:
    """Return an extra of a batch; raise ``ValueError`` unless it has one integer a sample."""
    if key not in batch.extras:
        raise ValueError(
            f"batch: expected extras[{key!r}], each sample's {meaning}, found extras "
            f"{sorted(batch.extras)}"
        )
    return check_integers(f"extras[{key!r}]", batch.extras[key], len(batch.samples))
