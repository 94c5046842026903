"""Files of NumPy arrays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dansm.errors import InputError


def read_arrays(path: Path, names: Sequence[str], what: str | None = None) -> dict[str, np.ndarray]:
    """Read arrays of an npz file, or the only one of an npy file, whatever it is called.

    Parameters
    ----------
    what
        They are together, for messages.

    Raises
    ------
    InputError
        If the file is missing, damaged, or lacks one of them.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray) and len(names) == 1:
            return {names[0]: loaded}
        with loaded:
            return {name: loaded[name] for name in names}
    except Exception as error:  # on damaged bytes, readers of zip and npy raise of every kind
        found = "no file" if isinstance(error, FileNotFoundError) else error
        raise InputError(
            f"{path}: expected {what or f'arrays {list(names)}'}, found {found}"
        ) from error
