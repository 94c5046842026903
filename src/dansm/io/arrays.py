"""Named arrays in npz files."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.records import is_proven


def write_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = True) -> None:
    """Write an npz file atomically."""
    write = np.savez_compressed if compressed else np.savez
    with atomic_path(path) as partial, open(partial, "wb") as file:
        write(file, **arrays)


def read_arrays(
    path: Path | str, names: Sequence[str] | None = None, what: str = "arrays"
) -> dict[str, np.ndarray]:
    """Read arrays of an npz file, or all; ``what`` they are is for messages.

    Asked for one name, it takes an npy file, which has an array without name, as well.

    Raises
    ------
    InputError
        If the file is missing or damaged, an array is, or a number is not finite.
    """
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise InputError(f"{path}: expected {what}, found no regular file")
    is_proven(Path(path))
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            loaded = nullcontext({names[0]: loaded} if names and len(names) == 1 else {})
        with loaded as file:
            wanted = list(file) if names is None else list(names)
            if not set(wanted) <= set(file):
                raise InputError(f"{path}: expected {what} with {wanted}, found {sorted(file)}")
            arrays = {name: file[name] for name in wanted}
        if bad := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
            raise InputError(f"{path}: expected {what}, found other content in {bad}")
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected {what}, found no file") from error
    except InputError:
        raise
    except Exception as error:  # of damaged files NumPy and zipfile raise nearly all there are
        raise InputError(f"{path}: expected {what}, found {error}") from error
    for name, array in arrays.items():
        if np.issubdtype(array.dtype, np.inexact) and not np.isfinite(array).all():
            raise InputError(f"{path}: {name}: expected finite numbers, found others")
    return arrays
