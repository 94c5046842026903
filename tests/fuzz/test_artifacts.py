"""Bits flipped and files cut in whatever jobs take up: it is refused, in one line, or harmless.

`pytest tests/fuzz --fuzz 500` tries that many times; the trials are the same each time, and a
larger number holds those of a smaller.
"""

import os
import shutil
import signal
from contextlib import contextmanager

import numpy as np
import pytest

from dansm.errors import InputError, TrainingError

from .inputs import ARTIFACTS, taken_up

SECONDS = 60  # for one trial, far more than it takes


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return what was done to a file, and what is in it then."""
    way = rng.choice(["flip", "flip", "flip", "cut", "zeros", "longer", "empty", "null"])
    place = int(rng.integers(len(content)))
    changed = bytearray(content)
    if way == "flip":
        changed[place] ^= 1 << int(rng.integers(8))
    elif way == "cut":
        del changed[place:]
    elif way == "zeros":
        changed[place : place + 64] = bytes(len(changed[place : place + 64]))
    elif way == "longer":
        changed += content[place : place + 64]
    else:
        changed = bytearray(b"" if way == "empty" else b"null")
    return f"{way} at {place}", bytes(changed)


@contextmanager
def in_time():
    def late(*_):
        raise TimeoutError(f"more than {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_no_damage_is_taken_up(kind, results, request):
    artifact = ARTIFACTS[kind]
    expected = taken_up(results, artifact, True)
    shutil.rmtree(results.folder / "jobs" / "fuzz")
    files, trials = list(artifact.files(results)), request.config.getoption("--fuzz")
    faults = []
    for trial in range(kind_trials(kind, trials)):
        rng = np.random.default_rng([list(ARTIFACTS).index(kind), trial])
        file = files[rng.integers(len(files))]
        kept, stat = file.read_bytes(), file.stat()
        done, changed = damaged(kept, rng)
        if changed == kept:
            continue
        file.write_bytes(changed)
        if rng.integers(2):  # as a disk does, without a new date
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        said = f"{file.relative_to(results.folder)}, {done}"
        try:
            with in_time():
                found = taken_up(results, artifact, bool(rng.integers(2)))
                if found != expected and kind not in RESUMED:
                    faults.append(f"{said}: taken up")
        except (InputError, TrainingError) as error:
            if "\n" in str(error).strip() or not str(error):
                faults.append(f"{said}: more than a line: {error}")
        except Exception as error:
            faults.append(f"{said}: {type(error).__name__}: {error}")
        finally:
            restore(results, file, kept, stat)
    assert not faults, "\n".join(faults)


def kind_trials(kind, trials):
    """Return how many of all trials are of a kind."""
    place = list(ARTIFACTS).index(kind)
    return len(range(place, trials, len(ARTIFACTS)))


# What is damaged in these is done again.
RESUMED = {"notes"}


def restore(results, file, content, stat):
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    shutil.rmtree(results.folder / "jobs" / "fuzz", ignore_errors=True)
