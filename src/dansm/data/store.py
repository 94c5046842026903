"""The store: a folder with ``array.npy``, ``meta.json`` and, for labelled data, ``labels.npy``.

``array.npy`` holds one sample a row, memory-mapped when read. ``meta.json`` is written last, so a
folder without it is an unfinished store.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm import tqdm

from dansm.errors import InputError
from dansm.files import atomic_path, read_json, sha256, write_json

_BLOCK_BYTES = 64 * 1024 * 1024
_META_KEYS = {"shape", "dtype", "value_range", "count", "sha256", "source", "licence"}


@dataclass(frozen=True)
class Store:
    """An opened store.

    Attributes
    ----------
    path
        Its folder.
    array
        Memory-mapped, shape ``(count, channels, height, width)``.
    labels
        Shape ``(count,)``, int64, or None.
    meta
        The content of ``meta.json``.
    """

    path: Path
    array: np.ndarray
    labels: np.ndarray | None
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Smallest and largest value a pixel can take; None for latents."""
        value_range = self.meta["value_range"]
        return None if value_range is None else (value_range[0], value_range[1])

    def batch(self, rows: np.ndarray) -> Tensor:
        """Return samples as the network sees them: float32, pixels scaled to [-1, 1]."""
        return self.to_model_range(torch.from_numpy(self.array[rows]))

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
    source: str,
    licence: str,
    labels: np.ndarray | None = None,
) -> None:
    """Write a store from consecutive blocks of samples.

    Parameters
    ----------
    path
        Folder of the store, created if needed.
    blocks
        Arrays of shape ``(n, *shape)``; their rows together number ``count``.
    value_range
        Smallest and largest possible value, or None for latents.

    Raises
    ------
    InputError
        If the blocks have another shape or number of rows, leave the value range or are not finite.
        Nothing is left under the store's names then.
    """
    path = Path(path)
    if labels is not None and np.shape(labels) != (count,):
        raise InputError(f"{path}: expected {count} labels, found {np.shape(labels)}")
    with atomic_path(path / "array.npy") as partial:
        array = open_memmap(partial, mode="w+", dtype=dtype, shape=(count, *shape))
        done = 0
        progress = tqdm(total=count, unit="images", desc=f"writing {path.name}", mininterval=1)
        for block in blocks:
            if block.shape[1:] != tuple(shape) or done + len(block) > count:
                raise InputError(
                    f"{path}: expected {count} samples of shape {tuple(shape)}, found a block of "
                    f"shape {block.shape} after {done} samples"
                )
            where = f"{path}, samples {done} to {done + len(block) - 1}"
            _check_values(block, value_range, where)
            with np.errstate(over="ignore", invalid="ignore"):
                stored = block.astype(dtype, copy=False)
            if stored is not block:  # another type may round, wrap or overflow
                _check_values(stored, value_range, f"{where}, as {dtype}")
                if np.issubdtype(dtype, np.integer) and not np.array_equal(stored, block):
                    raise InputError(f"{where}: expected values of {dtype}, found others")
            array[done : done + len(block)] = stored
            done += len(block)
            progress.update(len(block))
        progress.close()
        if done != count:
            raise InputError(f"{path}: expected {count} samples, found {done}")
        array.flush()
        digest = sha256(partial)
    if labels is not None:
        with atomic_path(path / "labels.npy") as partial, open(partial, "wb") as file:
            np.save(file, np.asarray(labels, dtype=np.int64))
    meta = {
        "shape": list(shape),
        "dtype": dtype,
        "value_range": None if value_range is None else list(value_range),
        "count": count,
        "sha256": digest,
        "source": source,
        "licence": licence,
    }
    if labels is not None:
        meta["labels_sha256"] = sha256(path / "labels.npy")
    write_json(path / "meta.json", meta)


def open_store(path: Path) -> Store:
    """Open a store after checking everything about it, its checksum and every value included.

    Raises
    ------
    InputError
        If the store is missing, unfinished, truncated, altered, or holds values that are not
        finite or outside its range.
    """
    path = Path(path)
    meta = read_json(path / "meta.json")
    missing = _META_KEYS - set(meta)
    if missing:
        raise InputError(f"{path / 'meta.json'}: expected keys {sorted(missing)}, found none")
    array = _load(path / "array.npy", mmap=True)
    expected = ((meta["count"], *meta["shape"]), np.dtype(meta["dtype"]))
    if (array.shape, array.dtype) != expected:
        raise InputError(
            f"{path / 'array.npy'}: expected shape {expected[0]} of {expected[1]} as in meta.json, "
            f"found {array.shape} of {array.dtype}"
        )
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), rows):
        block = array[first : first + rows]
        _check_values(block, meta["value_range"], f"{path / 'array.npy'}, from sample {first}")
    _check_digest(path / "array.npy", meta["sha256"])
    labels = None
    if "labels_sha256" in meta:
        labels = _load(path / "labels.npy", mmap=False)
        if labels.shape != (meta["count"],):
            raise InputError(
                f"{path / 'labels.npy'}: expected {meta['count']} labels, found {labels.shape}"
            )
        _check_digest(path / "labels.npy", meta["labels_sha256"])
    return Store(path=path, array=array, labels=labels, meta=meta)


def _load(path: Path, mmap: bool) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected an array, found no file") from error
    except (ValueError, EOFError, OSError) as error:
        found = f"{path.stat().st_size} bytes ({error})"
        raise InputError(f"{path}: expected a complete .npy file, found {found}") from error


def _check_digest(path: Path, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise InputError(f"{path}: expected sha256 {expected} as in meta.json, found {found}")


def _check_values(block: np.ndarray, value_range: Any, where: str) -> None:
    if not np.isfinite(block).all():
        raise InputError(f"{where}: expected finite values, found NaN or infinity")
    if value_range is not None and block.size:
        low, high = block.min(), block.max()
        if low < value_range[0] or high > value_range[1]:
            raise InputError(
                f"{where}: expected values in [{value_range[0]}, {value_range[1]}], "
                f"found [{low}, {high}]"
            )
