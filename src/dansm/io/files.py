"""Writing and reading result files.

Every file is written under a temporary name in its own folder and renamed, so that a file under its
final name is always complete. Which job made it, `dansm.io.records` says.
"""

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dansm.errors import InputError

if TYPE_CHECKING:  # what only writes files does without it
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


_LONG = 24 * 3600.0  # s
_digests: dict[tuple[int, ...], str] = {}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string.

    A process reads a file once, until it is written to, which its time of change shows whatever
    its date says.
    """
    with open(path, "rb") as file:
        stat = os.fstat(file.fileno())
        key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        if key not in _digests:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if time.time_ns() - stat.st_ctime_ns < 10**9:  # one tick may hold a further change
                return digest
            _digests[key] = digest
        return _digests[key]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block succeeds.

    What killed processes left of the same file is removed, those of other machines after a day,
    since nobody can tell whether they still work. A link stays: what it
    leads to is written.

    Raises
    ------
    InputError
        If the folder cannot be created or written to, its disk is full, or what has the name is no
        file.
    """
    path = Path(os.path.realpath(path) if os.path.islink(path) else path)
    if os.path.exists(path) and not os.path.isfile(path):
        kind = "a folder" if os.path.isdir(path) else "a device or pipe"
        raise InputError(f"{path}: expected the name of a file to write, found {kind}")
    stem = f".{path.name}.{socket.gethostname()}-"
    end = f".partial{path.suffix}"
    partial = path.with_name(f"{stem}{os.getpid()}{end}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{glob.escape(path.name)}.*{glob.escape(end)}"):
            process = left.name.removeprefix(stem).removesuffix(end)
            if left.name.startswith(stem) and process.isdecimal():
                import psutil  # needed only here

                stale = left == partial or not psutil.pid_exists(int(process))
            else:
                stale = time.time() - left.stat().st_mtime > _LONG
            if stale:
                left.unlink(missing_ok=True)
        open(partial, "xb").close()
    except OSError as error:
        check_full_disk(error, path)
        raise InputError(
            f"{path.parent}: the results folder must be writable for {path.name}; {error.strerror}"
        ) from error
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
        os.replace(partial, path)
    except Exception as error:
        check_full_disk(error, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def check_full_disk(error: BaseException, path: Path) -> None:
    """Raise an `InputError` in place of an error if what it says is that a disk is full.

    ``path`` is what was to be written. Libraries that write say it in ways of their own.
    """
    place = Path(os.path.realpath(path))
    while not os.path.ismount(place):
        place = place.parent
    cause: BaseException | None = error
    while cause is not None:
        told = f"{os.strerror(getattr(cause, 'errno', None) or 0)} {cause}"
        # NumPy tells only how many items it wrote.
        full = isinstance(cause, OSError) and " requested and " in told
        if full or any(os.strerror(one) in told for one in (errno.ENOSPC, errno.EDQUOT)):
            raise InputError(
                f"{path}: expected room on the disk {place}, found none ({cause})"
            ) from error
        cause = cause.__context__


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is missing or is not valid JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a JSON file, found none ({error})") from error
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise InputError(f"{path}: expected valid JSON, found {error}") from error


def read_model(path: Path, model: type[M]) -> M:
    """Read a JSON file that a model describes.

    Raises
    ------
    InputError
        If the file is missing, not valid JSON, or of another shape.
    """
    try:
        return parse_model(Path(path).read_bytes(), model, path)
    except OSError as error:
        raise InputError(f"{path}: expected a JSON file, found none ({error})") from error


def parse_model(text: bytes, model: type[M], path: Path | str) -> M:
    """Return what a JSON file's text says, checked by a model.

    Raises
    ------
    InputError
        Naming the file, if the text is not valid JSON, or of another shape.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        kind = model.__name__.strip("_").lower()
        raise InputError(
            f"{path}: {where}: expected the JSON of a valid {kind}, found: {first['msg']}"
        ) from error


def publish(source: Path, target: Path) -> None:
    """Give a finished file a second name, without copying its bytes where links are possible."""
    with atomic_path(target) as partial:
        partial.unlink()
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Create a file's folder and keep other processes that lock the same file waiting, or out.

    The kernel takes the lock from a process that dies; the file ``.NAME.lock`` stays. Where the
    file system has no locks, that is printed and the work goes on.

    Raises
    ------
    InputError
        If the folder cannot be created or written to; or, unless it is to wait, if another process
        has the lock.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "ab+", buffering=0)  # noqa: SIM115 - closed below
    except OSError as error:
        raise InputError(
            f"{path.parent}: expected a folder in which {path.name} can be made; {error.strerror}"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{path}: expected no other job to be making it, found "
                f"{file.read().decode(errors='replace')}; wait for it, or end it first"
            ) from None
        except OSError as error:
            print(f"{lock}: no protection against a second job ({error.strerror})", flush=True)
        with suppress(OSError):  # a full disk is no reason to stop
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}".encode())
        yield


def publish_partial(partial: Path, target: Path) -> None:
    """Give a complete partial file its name.

    For files so large that a run which follows a killed one must go on with the partial file, or
    at least overwrite it, so that its name is fixed; all others go through `atomic_path`.
    """
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)


def check_free_space(folder: Path, size: int, path: Path) -> None:
    """Check that so many bytes more fit on the disk of an existing folder.

    Raises
    ------
    InputError
        Naming ``path``, which they are for, and both sizes.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{path}: expected {size / 2**30:.2f} GiB of free disk for it, "
            f"found {free / 2**30:.2f} GiB on that of {folder}"
        )
