"""Writing and reading result files.

Every file is written under a temporary name in its own folder, receives a *receipt* and is then
renamed, so that a file under its final name is always complete and always has one. A receipt
(``.receipts/NAME.json`` beside the file) holds the file's SHA-256; a result without a matching
receipt was not made by this code and `unproven_files` reports it.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from dansm.errors import InputError

RECEIPTS = ".receipts"
RESULT_SUFFIXES = frozenset(
    {".csv", ".ipynb", ".json", ".jsonl", ".npy", ".npz", ".pdf", ".png", ".safetensors"}
)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path``, with its receipt, when the block succeeds.

    Raises
    ------
    InputError
        If the folder cannot be created or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=".", suffix=f".partial{path.suffix}", dir=path.parent
        )
    except OSError as error:
        raise InputError(
            f"{path.parent}: the results folder must be writable; {error.strerror}"
        ) from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
        _write_receipt(partial, path)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


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
    except ValueError as error:  # not JSON, or not UTF-8
        raise InputError(f"{path}: expected valid JSON, found {error}") from error


def receipt_sha256(path: Path) -> str | None:
    """Return the SHA-256 of a file's receipt, if the file is as it was then; otherwise None.

    Size and modification time decide, so a large file need not be read.
    """
    try:
        receipt = json.loads(_receipt_of(path).read_text())
        stat = path.stat()
        unchanged = (receipt["size"], receipt["mtime_ns"]) == (stat.st_size, stat.st_mtime_ns)
        return receipt["sha256"] if unchanged else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def publish(source: Path, target: Path) -> None:
    """Give a finished file a second name, without copying its bytes where links are possible."""
    with atomic_path(target) as partial:
        partial.unlink()
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Create a file's folder and keep other processes that lock the same file waiting.

    Raises
    ------
    InputError
        If the folder cannot be created or written to.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{path.parent}: expected a folder in which {path.name} can be made; {error.strerror}"
        ) from error
    try:
        yield
    finally:
        lock.release()


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


def unproven_files(root: Path, skip: set[str]) -> list[Path]:
    """Return the result files below ``root`` that have no matching receipt.

    A file whose size and modification time are those of its receipt is taken as unchanged;
    otherwise its SHA-256 decides, so copying a results folder keeps it valid.

    Parameters
    ----------
    root
        The results folder.
    skip
        Names of folders directly or indirectly below ``root`` that hold no results (logs …).
    """
    unproven = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(set(subfolders) - skip - {RECEIPTS})
        for name in sorted(names):
            path = Path(folder) / name
            result = path.suffix in RESULT_SUFFIXES and not name.startswith(".")
            if result and not is_proven(path):
                unproven.append(path)
    return unproven


def is_proven(path: Path) -> bool:
    """Return whether a file is what its receipt says; see `unproven_files`."""
    if receipt_sha256(path) is not None:
        return True
    try:
        receipt = json.loads(_receipt_of(path).read_text())
        return receipt["size"] == path.stat().st_size and receipt["sha256"] == sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_results_folder(root: Path, skip: set[str]) -> None:
    """Check that results can be written below ``root``, and that those there are by this code.

    Raises
    ------
    InputError
        Naming the folder that cannot be written to, or the files that no run made
        (see `unproven_files`).
    """
    folder = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        kind = "folder without write permission" if folder.is_dir() else "file"
        raise InputError(f"{root}: the results folder must be writable, found a {kind}: {folder}")
    unproven = unproven_files(root, skip)
    if unproven:
        names = "\n  ".join(str(path) for path in unproven[:10])
        more = f"\n  and {len(unproven) - 10} more" if len(unproven) > 10 else ""
        raise InputError(
            f"{root}: expected only files made by this workflow, found some that no run made or "
            f"that were changed since; delete them or move them elsewhere:\n  {names}{more}"
        )


def _receipt_of(path: Path) -> Path:
    return path.parent / RECEIPTS / f"{path.name}.json"


def _write_receipt(content: Path, path: Path) -> None:
    stat = content.stat()
    receipt = _receipt_of(path)
    receipt.parent.mkdir(exist_ok=True)
    partial = receipt.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(
        json.dumps({"sha256": sha256(content), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns})
    )
    os.replace(partial, receipt)
