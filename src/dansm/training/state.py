"""The rolling state, from which an interrupted training continues."""

import time
from pathlib import Path
from typing import Any

import torch

from dansm.errors import InputError
from dansm.io.files import atomic_path

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
            torch.save(content, partial)
        now = time.perf_counter()
        self._due = now + max(self._seconds, (now - started) / _SAVING_SHARE)

    def read(self) -> dict[str, Any] | None:
        """Return the content, on the CPU; None without a file.

        Raises
        ------
        InputError
            If the file cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(
                f"{self.path}: expected a training state, found {self.path.stat().st_size} bytes "
                f"that cannot be read ({error}); delete the file to train from the start"
            ) from error
