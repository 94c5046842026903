"""Requests to stop, and the exclusion of a second training of the same run."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dansm.errors import InputError
from dansm.io.run_folder import LOCK, TRAINING


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Yield a list to which SIGTERM adds its number, in place of killing the process."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def only_training(folder: Path) -> Iterator[None]:
    """Lock a run's folder against other jobs.

    Raises
    ------
    InputError
        If another job is training this run.
    """
    path = folder / TRAINING / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    # The kernel takes the lock from a process that dies; the file may stay.
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{folder}: expected no other job to train this run, found {file.read()}; wait "
                "for it, or end it first"
            ) from None
        except OSError as error:  # a file system mounted without locks
            print(f"{path}: no protection against a second job ({error.strerror})")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
