"""The rolling state, from which an interrupted training continues."""

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import torch

from dansm.errors import InputError
from dansm.io.files import atomic_path, sha256

_DIGEST_BYTES = 32  # SHA-256 of all before, at the end of the file
_PIECE_BYTES = 2**24
_SAVING_SHARE = 0.02  # of the time, at most, goes into saving


class RollingState:
    """A file that is replaced now and then.

    Parameters
    ----------
    seconds
        Least time between two saves; it grows where saving is slow.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self.path = path
        self._seconds = seconds
        self._due = time.perf_counter() + seconds

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.perf_counter() >= self._due

    def save(self, content: dict[str, Any]) -> None:
        """Replace the file, atomically."""
        started = time.perf_counter()
        with atomic_path(self.path) as partial:
            with open(partial, "wb") as file:
                torch.save(content, file)
            # At the file's end, which PyTorch does not read.
            digest = bytes.fromhex(sha256(partial))
            with open(partial, "ab") as file:
                file.write(digest)
        now = time.perf_counter()
        self._due = now + max(self._seconds, (now - started) / _SAVING_SHARE)

    def read(self) -> dict[str, Any] | None:
        """Return the content, on the CPU; None without a file.

        Raises
        ------
        InputError
            If the file is not as it was saved, or cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            with open(self.path, "rb") as file:
                end = os.fstat(file.fileno()).st_size - _DIGEST_BYTES
                digest = hashlib.sha256()
                while piece := file.read(min(_PIECE_BYTES, max(0, end - file.tell()))):
                    digest.update(piece)
                if file.read() != digest.digest():
                    raise ValueError("its sha256 is another")
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{self.path}: expected a training state, found one that was changed or cut since "
                f"it was saved ({error}); delete the file to train from the start"
            ) from error
