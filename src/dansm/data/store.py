"""The store: a folder with arrays in shards, ``meta.json`` and, for labelled data, ``labels.npy``.

A shard ``array-00000.npy`` holds one sample a row, memory-mapped when read, and is of bounded size.
A store of latents may hold further parts beside ``array``, with a row for each of its rows:
``deviation`` (of the autoencoder's posterior), ``mirrored`` (the mirrored image's latents) and
``mirrored_deviation``. ``meta.json`` is written last, so a folder without it is no finished store.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.lib import format as npy
from pydantic import AfterValidator, BaseModel, Field, PositiveInt
from torch import Tensor
from tqdm import tqdm

from dansm.errors import InputError
from dansm.io.files import atomic_path, check_free_space, read_model, sha256, write_json
from dansm.io.records import is_proven

ARRAY = "array"
DEVIATION = "deviation"
MIRRORED = "mirrored"
_BLOCK_BYTES = 64 * 1024 * 1024
_SHARD_BYTES = 2**30


def mirrored_part(part: str) -> str:
    """Return the name of the part that has the mirrored images' rows of another."""
    return MIRRORED if part == ARRAY else f"{MIRRORED}_{part}"


class Shards:
    """Several arrays joined along their first axis, indexed by rows or by a slice of rows.

    Parameters
    ----------
    arrays
        At least one; their shapes agree beyond the first axis, and so do their types.
    """

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self._arrays = list(arrays)
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape = (int(self._ends[-1]), *arrays[0].shape[1:])
        self.dtype = arrays[0].dtype
        self.size = prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Return a copy of some rows, in the order asked for."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()}: expected 0 to {len(self) - 1}")
        shards = np.searchsorted(self._ends, rows, side="right")
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for shard in np.unique(shards):
            here = shards == shard
            array = self._arrays[shard]
            found[here] = array[rows[here] - (self._ends[shard] - len(array))]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes
    ----------
    parts
        By name; each memory-mapped, shape ``(count, channels, height, width)``.
    labels
        Shape ``(count,)``, int64, or None.
    meta
        The content of ``meta.json``.
    """

    path: Path
    parts: dict[str, np.ndarray | Shards]
    labels: np.ndarray | None
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def array(self) -> np.ndarray | Shards:
        """The samples; of latents with a posterior, its means."""
        return self.parts[ARRAY]

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest value a pixel can take; None for latents."""
        return self.meta["value_range"]

    @property
    def has_posterior(self) -> bool:
        """Whether latents are to be drawn anew each time training reads them."""
        return DEVIATION in self.parts

    @property
    def can_mirror(self) -> bool:
        """Whether mirrored samples can be had: pixels are mirrored, latents must be stored so."""
        return self.value_range is not None or MIRRORED in self.parts

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return samples as the network sees them: float32, pixels scaled to [-1, 1]."""
        return self._read(ARRAY, rows, None)

    def draw(
        self, rows: np.ndarray, mirrored: Tensor | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """Return samples as `batch` does, for training.

        Parameters
        ----------
        mirrored
            Which of them to mirror, bool, shape ``(n,)``.
        noise
            Standard normal, of the samples' shape: latents are drawn from their posterior with it.
            Only for a store that has one.
        """
        samples = self._read(ARRAY, rows, mirrored)
        if noise is None:
            return samples
        return samples + self._read(DEVIATION, rows, mirrored) * noise

    def _read(self, part: str, rows: np.ndarray, mirrored: Tensor | None) -> Tensor:
        values = self.to_model_range(torch.from_numpy(self.parts[part][rows]))
        if mirrored is None:
            return values
        if self.value_range is not None:
            return torch.where(mirrored[:, None, None, None], values.flip(3), values)
        # The latents of a mirrored image are not the mirrored latents.
        values[mirrored] = self._read(mirrored_part(part), rows[mirrored.numpy()], None)
        return values

    def deviation(self, block: int = 4096) -> float:
        """Return the standard deviation of all values of all samples, as the model sees them.

        It is EDM's ``sigma_data``. Of latents with a posterior it is that of its means.
        """
        total = squares = count = 0.0
        for first in range(0, len(self), block):
            values = self.batch(np.arange(first, min(first + block, len(self)))).double()
            total += float(values.sum())
            squares += float(values.square().sum())
            count += values.numel()
        return (squares / count - (total / count) ** 2) ** 0.5

    def to_model_range(self, values: Tensor) -> Tensor:
        """Scale stored values to [-1, 1]; latents stay as they are."""
        values = values.to(torch.float32)
        if self.value_range is None:
            return values
        low, high = self.value_range
        return (values - low) * (2 / (high - low)) - 1

    def to_stored_range(self, images: Tensor) -> Tensor:
        """Turn images in [-1, 1] into what the store would hold: clipped, and rounded if integer.

        They stay on their device. Published distances compare 8-bit images; this does the same for
        any integer type.

        Raises
        ------
        InputError
            If the store holds latents or the images are not finite.
        """
        if self.value_range is None:
            raise InputError(f"{self.path}: expected a pixel store, found one without value range")
        if not bool(images.isfinite().all()):
            raise InputError(f"{self.path}: expected finite images, found NaN or infinity")
        low, high = self.value_range
        values = (images.clamp(-1, 1) + 1) * ((high - low) / 2) + low
        if np.issubdtype(self.array.dtype, np.integer):
            values = values.round()
        return values.to(torch.from_numpy(np.empty(0, self.array.dtype)).dtype)


def write_store(
    path: Path,
    blocks: Iterable[np.ndarray],
    *,
    count: int,
    shape: tuple[int, ...],
    dtype: str,
    value_range: tuple[float, float] | None,
    shard_bytes: int = _SHARD_BYTES,
    **description: Any,
) -> None:
    """Write a store from consecutive blocks of samples.

    Parameters
    ----------
    blocks
        Arrays of shape ``(n, *shape)``; their rows together number ``count``.
    value_range
        Smallest and largest possible value, or None for latents.
    shard_bytes
        Size of a shard, at most, or one sample if that is larger.
    description
        The rest of what `finish_store` is told.

    Raises
    ------
    InputError
        If the blocks have another shape or number of rows, leave the value range or are not finite,
        or the disk is too full. The folder has no ``meta.json`` then, and holds no shard but
        complete ones.
    """
    path = Path(path)
    sample_bytes = prod(shape) * np.dtype(dtype).itemsize
    rows = max(1, shard_bytes // sample_bytes)
    pieces = _checked(path, blocks, count, shape, dtype, value_range, rows)
    files = []
    with tqdm(total=count, unit="samples", desc=f"writing {path.name}", mininterval=1) as progress:
        for first in range(0, count, rows):
            files.append(path / shard_name(ARRAY, len(files)))
            left = min(rows, count - first)
            with atomic_path(files[-1]) as partial, open(partial, "wb") as file:
                check_free_space(path, (count - first) * sample_bytes, path)
                descr = npy.dtype_to_descr(np.dtype(dtype))
                header = {"descr": descr, "fortran_order": False, "shape": (left, *shape)}
                npy.write_array_header_1_0(file, header)
                while left:
                    piece = next(pieces)
                    file.write(piece.tobytes())
                    left -= len(piece)
                    progress.update(len(piece))
    next(pieces, None)  # whether there are more than there should be
    finish_store(path, {ARRAY: files}, value_range=value_range, **description)


def shard_name(part: str, number: int) -> str:
    """Return the name of a shard's file."""
    return f"{part}-{number:05d}.npy"


def finish_store(
    path: Path,
    parts: dict[str, list[Path]],
    *,
    value_range: tuple[float, float] | None,
    source: str,
    licence: str,
    labels: np.ndarray | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write labels and ``meta.json``, which make a store of shards that lie in its folder.

    Parameters
    ----------
    parts
        The shards' files by part, each in order.
    extra
        What else ``meta.json`` shall say.

    Raises
    ------
    InputError
        If there is another number of labels.
    """
    shards = {
        part: [{"file": f.name, "count": len(_load(f)), "sha256": sha256(f)} for f in files]
        for part, files in parts.items()
    }
    like = _load(parts[ARRAY][0])
    meta = {
        "shape": list(like.shape[1:]),
        "dtype": str(like.dtype),
        "value_range": None if value_range is None else list(value_range),
        "count": sum(shard["count"] for shard in shards[ARRAY]),
        "sha256": _joint_digest(shards),
        "parts": shards,
        "source": source,
        "licence": licence,
        **(extra or {}),
    }
    if labels is not None:
        if np.shape(labels) != (meta["count"],):
            raise InputError(f"{path}: expected {meta['count']} labels, found {np.shape(labels)}")
        with atomic_path(path / "labels.npy") as partial, open(partial, "wb") as file:
            np.save(file, np.asarray(labels, dtype=np.int64))
        meta["labels_sha256"] = sha256(path / "labels.npy")
    write_json(path / "meta.json", meta)


def open_store(path: Path) -> Store:
    """Open a store after checking everything about it, its checksums and every value included.

    The values of one that is as its job left it were checked when they were written.

    Raises
    ------
    InputError
        If the store is missing, unfinished, truncated, altered, or holds values that are not
        finite or outside its range.
    """
    path = Path(path)
    checked = is_proven(path)
    meta = read_model(path / "meta.json", _Description).model_dump()
    joint = _joint_digest(meta["parts"])
    if meta["sha256"] != joint:
        raise InputError(
            f"{path / 'meta.json'}: expected sha256 {joint} by those of its shards, "
            f"found {meta['sha256']}"
        )
    count, shape, dtype = meta["count"], tuple(meta["shape"]), np.dtype(meta["dtype"])
    parts: dict[str, np.ndarray | Shards] = {}
    for part, shards in meta["parts"].items():
        found = sum(shard["count"] for shard in shards)
        if found != count:
            raise InputError(
                f"{path / 'meta.json'}: expected {count} samples in the shards of {part}, "
                f"found {found}"
            )
        arrays = []
        for shard in shards:
            file = path / shard["file"]
            arrays.append(_open(file, (shard["count"], *shape), dtype, shard["sha256"]))
            rows = max(1, _BLOCK_BYTES // max(1, arrays[-1][:1].nbytes))
            for first in range(0, 0 if checked else len(arrays[-1]), rows):
                where = f"{file}, from sample {first}"
                check_values(arrays[-1][first : first + rows], meta["value_range"], where)
        parts[part] = arrays[0] if len(arrays) == 1 else Shards(arrays)
    if ARRAY not in parts:
        raise InputError(f"{path / 'meta.json'}: expected a part {ARRAY}, found {sorted(parts)}")
    labels = None
    if meta["labels_sha256"] is not None:
        mapped = _open(path / "labels.npy", (count,), np.dtype("int64"), meta["labels_sha256"])
        labels = np.array(mapped)
    return Store(path, parts, labels, meta)


def _rising(value_range: tuple[float, float] | None) -> tuple[float, float] | None:
    if value_range is not None and not -inf < value_range[0] < value_range[1] < inf:
        raise ValueError(f"expected a smaller and a larger number, found {value_range}")
    return value_range


class _Shard(BaseModel):
    file: str = Field(pattern=r"^[^/]+$")
    count: PositiveInt
    sha256: str


class _Description(BaseModel, extra="allow"):
    """What is in ``meta.json``, beside what else a store's maker says."""

    shape: list[PositiveInt]
    dtype: Literal["uint8", "int8", "uint16", "int16", "float16", "float32", "float64"]
    value_range: Annotated[tuple[int | float, int | float] | None, AfterValidator(_rising)]
    count: PositiveInt
    sha256: str
    parts: dict[str, Annotated[list[_Shard], Field(min_length=1)]]
    source: str
    licence: str
    labels_sha256: str | None = None


def _open(path: Path, shape: tuple[int, ...], dtype: np.dtype, digest: str) -> np.ndarray:
    array = _load(path)
    if (array.shape, array.dtype) != (shape, dtype):
        raise InputError(
            f"{path}: expected shape {shape} of {dtype} as in meta.json, "
            f"found {array.shape} of {array.dtype}"
        )
    found = sha256(path)
    if found != digest:
        raise InputError(f"{path}: expected sha256 {digest} as in meta.json, found {found}")
    return array


def _load(path: Path) -> np.ndarray:
    """Map an array into memory."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected an array, found no file") from error
    except (ValueError, EOFError, OSError) as error:
        found = f"{path.stat().st_size} bytes ({error})"
        raise InputError(f"{path}: expected a complete .npy file, found {found}") from error


def _checked(
    path: Path,
    blocks: Iterable[np.ndarray],
    count: int,
    shape: tuple[int, ...],
    dtype: str,
    value_range: tuple[float, float] | None,
    rows: int,
) -> Iterator[np.ndarray]:
    """Yield the blocks, cut where a multiple of ``rows`` samples is full.

    Raise unless they are what `write_store` says.
    """
    done, expected = 0, (tuple(shape), np.dtype(dtype))
    for block in blocks:
        if (block.shape[1:], block.dtype) != expected or done + len(block) > count:
            raise InputError(
                f"{path}: expected {count} samples of {dtype}, shape {expected[0]}, found a block "
                f"of shape {block.shape} in {block.dtype} after {done} samples"
            )
        where = f"{path}, samples {done} to {done + len(block) - 1}"
        check_values(block, value_range, where)
        yield from np.split(block, range(rows - done % rows, len(block), rows))
        done += len(block)
    if done != count:
        raise InputError(f"{path}: expected {count} samples, found {done}")


def _joint_digest(parts: dict[str, list[dict[str, Any]]]) -> str:
    """Return one SHA-256 for all shards of all parts."""
    lines = [f"{part} {shard['sha256']}" for part in sorted(parts) for shard in parts[part]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def check_values(block: np.ndarray, value_range: Any, where: str) -> None:
    """Check that values are finite and inside a range, if there is one.

    Raises
    ------
    InputError
        Naming where, and what was expected and found.
    """
    if not np.isfinite(block).all():
        raise InputError(f"{where}: expected finite values, found NaN or infinity")
    if value_range is not None and block.size:
        low, high = block.min(), block.max()
        if low < value_range[0] or high > value_range[1]:
            raise InputError(
                f"{where}: expected values in [{value_range[0]}, {value_range[1]}], "
                f"found [{low}, {high}]"
            )
