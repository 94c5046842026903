"""What every coupling is."""

import operator
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from dansm.randomness import generator

_SMALL = 2**26  # bytes that need no look at the free memory
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
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


@contextmanager
def undisturbed() -> Iterator[None]:
    """Shut out what a caller may have switched on: autocast, inference mode, a default device.

    So the same is drawn and matched everywhere. Another default type cannot be shut out without
    disturbing other threads: whatever is drawn states its own.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


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
        if self.sized:
            match_size = whole_number("match_size", match_size, 2, f"{self.name} takes")
        elif match_size != 0:
            raise ValueError(f"match_size {match_size}: {self.name} takes 0, it has no pool")
        self.match_size = int(match_size)
        self.seed = whole_number("seed", seed)
        self._process = os.getpid()
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
            with self._undisturbed():
                check_batch(batch)
                pairs = self.pair(batch)
            yield pairs

    def pair(self, batch: Batch) -> Pairs:
        """Return as many pairs as the batch has samples; see `pairs`."""
        raise NotImplementedError

    def progress(self) -> dict[str, Any]:
        """Return what changes while matching, as numbers, strings and tensors on the CPU."""
        return deepcopy(self._progress)

    def load_progress(self, progress: dict[str, Any]) -> None:
        """Take up what `progress` returned."""
        self._progress = deepcopy(progress)

    @undisturbed()
    def state_dict(self) -> dict[str, Any]:
        """Return the state as numbers, strings and tensors: what the coupling is, and progress."""
        return {**_plain(self._identity()), "progress": self.progress()}

    @undisturbed()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same kind of coupling.

        Raises
        ------
        ValueError
            If the state belongs to a coupling of another name, match size, seed or options.
        """
        found = {key: value for key, value in state.items() if key != "progress"}
        if found != _plain(self._identity()):
            raise ValueError(
                f"state of another coupling: expected {self._identity()}, found {found}"
            )
        self.load_progress(state["progress"])

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Match as `undisturbed`, and in the process that made the coupling."""
        if os.getpid() != self._process:
            raise RuntimeError(
                f"{self.name}: made in another process, so that each of its copies, as in the "
                "workers of a data loader, would hand out the same noises; match in the process "
                "that made it, or make one in each with a seed of its own"
            )
        with undisturbed():
            yield

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
        with self._undisturbed():
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

    _squares = 0  # numbers held for every two samples of a batch

    def __init__(self, match_size: int = 0, seed: int = 0) -> None:
        super().__init__(match_size, seed)
        self._progress = {"batches": 0}

    @abstractmethod
    def choose(self, flat: Tensor, stream: torch.Generator) -> Tensor:
        """Return the noise for each sample of a batch, as `matched` does.

        ``stream`` is the generator to draw from, on the CPU: `dansm.randomness.normal` does.
        """

    def matched(self, flat: Tensor) -> Tensor:
        """Return the chosen noise."""
        n, dimensions = flat.shape
        needed = flat.element_size() * n * (3 * dimensions + self._squares * n)
        check_memory(f"a batch of {n} samples of {dimensions} dimensions", needed, flat.device)
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


def check_memory(what: str, needed: int, device: torch.device, hint: str = "") -> None:
    """Raise ``ValueError`` if so many bytes, on a device, are more than its free memory."""
    if needed < _SMALL:
        return
    free = free_memory(device)
    if needed > free:
        raise ValueError(
            f"{what} needs {needed / 2**30:.1f} GiB, found {free / 2**30:.1f} GiB of free memory"
            + hint
        )


def free_memory(device: torch.device) -> int:
    """Return the bytes that a tensor on this device may still take.

    On the CPU that is what the machine has left, or less where the job or container of this process
    has a limit of its own (Linux's control groups).
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Torch reserves memory for later use.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # Unlike the number of free pages this counts what files' caches would give back.
    found = re.search(r"MemAvailable: +(\d+) kB", _text(_PROC / "meminfo"))
    if found is None:  # not Linux: all there is
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(0, min([1024 * int(found[1]), *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Yield what each control group of this process, and those above, leave of their memory."""
    for line in _text(_PROC / "self/cgroup").splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            root, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / own.lstrip("/")
        # Inside a container its own group is the root, whatever the line says.
        for group in (folder, *folder.parents[: len(folder.parts) - len(root.parts)]):
            limit, used = (_text(group / name).strip() for name in names[:2])
            if limit.isdecimal() and used.isdecimal():  # there is such a file, and not "max" in it
                cached = re.search(rf"^{names[2]} (\d+)$", _text(group / "memory.stat"), re.M)
                yield int(limit) - int(used) + int(cached[1] if cached else 0)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


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
    expect_tensor("samples", samples)
    if samples.ndim < 2 or samples.numel() == 0 or samples.dtype not in _FLOATS:
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


def check_batch(batch: Batch) -> None:
    """Raise ``ValueError`` unless it is a batch whose extras have one row a sample."""
    if not (hasattr(batch, "samples") and hasattr(batch, "extras")):
        raise ValueError(f"batches: expected dansm.couplings.Batch, found {_kind(batch)}")
    expect_tensor("samples", batch.samples)
    for key, rows in batch.extras.items():
        expect_tensor(f"extras[{key!r}]", rows)
        if rows.shape[:1] != batch.samples.shape[:1]:
            raise ValueError(
                f"extras: expected {len(batch.samples)} rows of {key!r}, found "
                f"{len(rows) if rows.ndim else 'none'}"
            )


def expect_tensor(name: str, found: Any) -> None:
    """Raise ``ValueError`` unless it is a tensor with values that can be read one by one."""
    if not isinstance(found, Tensor):
        raise ValueError(f"{name}: expected a tensor, found {_kind(found)}")
    if found.layout != torch.strided or found.is_nested or found.is_meta:
        kind = "meta" if found.is_meta else "nested" if found.is_nested else found.layout
        raise ValueError(f"{name}: expected a dense tensor with values, found a {kind} one")


def _kind(found: Any) -> str:
    return f"{type(found).__module__}.{type(found).__qualname__}".removeprefix("builtins.")


def whole_number(name: str, value: Any, least: int | None = None, who: str = "expected") -> int:
    """Return a whole number of any type as an int; raise ``ValueError`` unless it is one."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        at_least = "" if least is None else f", at least {least}"
        raise ValueError(f"{name} {value}: {who} a whole number{at_least}")
    return number


def _plain(value: Any) -> Any:
    """Return values as Python's own types, so that any reader of states knows them."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def check_costs(costs: Tensor, flat: Tensor) -> None:
    """Raise ``ValueError`` unless the samples' costs, one or more rows a sample, are finite."""
    if not _has_finite_sum(costs):
        raise ValueError(
            f"samples: expected values whose distances to noise are finite in {costs.dtype}, "
            f"found a largest value of {flat.abs().max():g}"
        )


def check_integers(name: str, values: Tensor, count: int) -> Tensor:
    """Return values as int64 on the CPU; raise ``ValueError`` unless ``count`` integers."""
    expect_tensor(name, values)
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
