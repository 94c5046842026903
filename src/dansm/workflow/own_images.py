"""Images of one's own, told from others before a job reads them: exchanged ones are built anew.

A folder may hold millions of images, so they are not read whenever the workflow starts. The job
that builds a store notes the size, date and SHA-256 of each; later, those whose date is another are
read. No date by itself makes a difference. Of a database of tens of gigabytes, places are read.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dansm.io.files import read_json, read_model, sha256, write_text
from dansm.io.records import Record

_BLOCK = 2**16
_PLACES = 64


@dataclass(frozen=True)
class OwnImages:
    """The images of a dataset that is published by nobody, or was put where it is by hand.

    Attributes
    ----------
    folder
        They are in it or below.
    endings
        Of the names of their files.
    count
        The first so many by name are taken; None: all.
    record
        Of the job that built the store.
    notes
        What that job noted: size, date in nanoseconds and digest of each file, by its name.
    digest
        Of a file.
    """

    folder: Path
    endings: tuple[str, ...]
    count: int | None
    record: Path
    notes: Path
    digest: Callable[[Path], str] = sha256

    def identity(self) -> str | None:
        """Return what is another for other images; None of stores from before it was noted."""
        files = self._files()
        names = _digest(f"{size} {name}" for name, (size, _) in files.items())
        if not self.record.exists():
            return names
        source = read_model(self.record, Record).params["settings"]["source"]
        built = source.get("images")
        # Where the folder is gone, nobody has put others in their place.
        if built is None or not files:
            return built
        noted = read_json(self.notes) if self.notes.exists() else {}
        if {name: size for name, (size, *_) in noted.items()} != {
            name: size for name, (size, _) in files.items()
        }:
            return names
        redated = [name for name, (_, date) in files.items() if noted[name][1] != date]
        read = dict(zip(redated, self._digests(redated), strict=True))
        others = {name: digest for name, digest in read.items() if digest != noted[name][2]}
        if others:
            return _digest([names, *(f"{digest} {name}" for name, digest in others.items())])
        if redated:
            self._write(files, [noted[name][2] for name in files])
        return built

    def note(self) -> None:
        """Note the images that a store was built from."""
        files = self._files()
        self._write(files, self._digests(files))

    def _write(self, files: dict[str, tuple[int, int]], digests: list[str]) -> None:
        noted = {name: (*files[name], digest) for name, digest in zip(files, digests, strict=True)}
        # In ASCII, since names of files need not be UTF-8.
        write_text(self.notes, json.dumps(noted))

    def _digests(self, names: Iterable[str]) -> list[str]:
        def digest(name: str) -> str:
            try:
                return self.digest(self.folder / name)
            except OSError:  # which the job that reads it names
                return "unreadable"

        with ThreadPoolExecutor() as threads:
            return [*threads.map(digest, names)]

    def _files(self) -> dict[str, tuple[int, int]]:
        """Return size and date of each image, by name; what cannot be read, the job names."""
        found, seen = {}, set()
        for parent, folders, names in os.walk(self.folder, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if not name.startswith(".") and name.lower().endswith(self.endings):
                    path = os.path.join(parent, name)
                    if os.path.isfile(path):
                        stat = os.stat(path)
                        below = os.path.relpath(path, self.folder)
                        found[below] = (stat.st_size, stat.st_mtime_ns)
        return {str(name): found[str(name)] for name in sorted(map(Path, found))[: self.count]}


def sampled_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's size and of 64 places in it: its ends, and evenly between.

    Of a file up to 4 MiB that is all of it. An LMDB records at its beginning which transaction
    wrote it last, how many entries it has and which pages.
    """
    size = os.stat(path).st_size
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - _BLOCK)
    with open(path, "rb") as file:
        for place in range(_PLACES):
            file.seek(last * place // (_PLACES - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
