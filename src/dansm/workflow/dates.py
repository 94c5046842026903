"""Dates of results, brought into line with contents before Snakemake goes by them.

Snakemake makes anew what is older than its inputs. But a date says nothing of contents: touching,
copying, checking out another branch and back, or a clock that was wrong give a file another one.
Records of jobs say what a result was made from.
"""

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR

from dansm.io.files import sha256
from dansm.io.records import Record, Records

# Snakemake keeps the date of a folder here.
_OF_FOLDER = ".snakemake_timestamp"
_SECOND = 10**9  # nanoseconds


def settle_dates(records: Records) -> None:
    """Date every finished result after its inputs if these are as its job found them, or before.

    What has the right date keeps it. Results are taken to be as `Records.unproven` wants them.
    """
    _Dates(records).settle()
    records.save_dates()


class _Dates:
    def __init__(self, records: Records) -> None:
        self.records = records
        self.settled: set[int] = set()
        self.digests: dict[str, str | None] = {}

    def settle(self) -> None:
        for record in self.records.jobs:
            self._settle(record)

    def _settle(self, record: Record) -> None:
        if id(record) in self.settled or record.finished is None:
            return
        self.settled.add(id(record))
        outputs = {name: self._date(name) for name in self._made_last_by(record)}
        # Those of inputs first, which this record's may have to follow.
        for name in record.inputs:
            if (maker := self.records.of(name)) is not None:
                self._settle(maker)
        present = {name: date for name, date in outputs.items() if date is not None}
        if not present:
            return
        same: list[int] = []
        changed: list[int] = []
        for name, digest in record.inputs.items():
            now, date = self._digest(name), self._date(name)
            if digest is not None and now is not None and date is not None:
                (same if now == digest else changed).append(date)
        if changed:
            # One of the outputs is enough.
            if min(present.values()) >= max(changed):
                self._redate(record, next(iter(present)), max(changed) - _SECOND)
            return
        for name, date in present.items():
            if same and date < max(same):
                self._redate(record, name, max(same))

    def _made_last_by(self, record: Record) -> list[str]:
        return [name for name in record.outputs if self.records.of(name) is record]

    def _path(self, name: str) -> str:
        return f"{self.records.results}/{name}"

    def _date(self, name: str) -> int | None:
        date = self.records.dates.get(name)
        return _date(self._path(name)) if date is None else date

    def _digest(self, name: str) -> str | None:
        """Return the SHA-256 of an input that is there as it was made; None of any other."""
        if name not in self.digests:
            if name.startswith(".."):
                path = Path(self._path(name))
                self.digests[name] = sha256(path) if path.is_file() else None
            else:
                self.digests[name] = self.records.recorded_sha256(name)
        return self.digests[name]

    def _redate(self, record: Record, name: str, date: int) -> None:
        path = self._path(name)
        try:
            if os.path.isdir(path):
                path = f"{path}/{_OF_FOLDER}"
                open(path, "a").close()
            os.utime(path, ns=(date, date))
        except OSError:  # such as a file of another user, who alone may date it
            return
        if name in record.files:
            self.records.note_date(name, record, os.stat(path).st_mtime_ns)


def _date(path: str) -> int | None:
    """Return the date of a file or folder as Snakemake reads it, in nanoseconds."""
    try:
        found = os.stat(path)
        if S_ISDIR(found.st_mode):
            with suppress(FileNotFoundError):
                found = os.stat(f"{path}/{_OF_FOLDER}")
        return found.st_mtime_ns
    except OSError:
        return None
