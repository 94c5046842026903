"""Records of jobs, by which every result is proven and can be traced.

A job's record is ``RESULTS/jobs/RULE/NAME.json``. It is written when the job starts, naming the
outputs that are *in the making*, and again when it ends, with the SHA-256, size and modification
time of every file made. A result that no record names, or that differs from its record, was not
made by this code. Where size and modification time agree, no file is read. Names in a record are
relative to the results folder, which may be moved and copied.
"""

import hashlib
import json
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

from pydantic import BaseModel
from tqdm import tqdm

from dansm.errors import InputError
from dansm.io.files import check_full_disk, parse_model, sha256, write_text
from dansm.io.kept import Kept
from dansm.io.provenance import provenance

JOBS = "jobs"
RESULT_SUFFIXES = frozenset(
    {".csv", ".ipynb", ".json", ".jsonl", ".npy", ".npz", ".pdf", ".png", ".safetensors"}
)
# Folders directly below a results folder that hold none: logs, states of interrupted jobs, and the
# archive, which has a record of its own; and those directly below a run's folder.
_OTHER = frozenset({JOBS, "logs", "benchmarks", "encoding", "training", "reference"})
_OTHER_OF_RUN = frozenset({"training", "png"})
_NO_SHA256 = "-" * 64
_RUN = re.compile(r"runs(/[^/]+){3}")


_texts: dict[str, tuple[tuple[int, ...], bytes]] = {}  # of records, by path
_taken_up: set[str] = set()  # inputs of the job at work, which it has compared


class Content(BaseModel):
    """What is in a file, and by which its content is known without reading it."""

    sha256: str
    size: int
    mtime_ns: int


class Origin(BaseModel):
    """What a number can be traced to; see `dansm.io.provenance.provenance`."""

    commit: str | None = None
    uncommitted_changes: bool | None = None
    versions: dict[str, str | None] = {}
    hardware: dict[str, Any] = {}


class Record(Origin, extra="forbid"):
    """What a job was told, used and made.

    Attributes
    ----------
    record_sha256
        Of the record's own text, in which hyphens stand for it; records of before have none.
    inputs
        With their SHA-256 when the job started; of a folder, that over its files.
    finished
        None while the outputs are in the making.
    peak_memory_mb
        The most memory that the job's process, or one of those it started, held at once.
    files
        Each file made, those in folders too.
    """

    record_sha256: str | None = None
    rule: str
    wildcards: dict[str, str]
    params: dict[str, Any]
    inputs: dict[str, str | None]
    outputs: list[str]
    started: str
    finished: str | None = None
    seconds: float = 0
    peak_memory_mb: int | None = None
    files: dict[str, Content] = {}


class Records:
    """The records of a results folder, where names are relative to it.

    Parameters
    ----------
    results
        The folder.
    about
        Paths. Only records named after them are read, until `read_all` is asked for more: the name
        of a job mostly stands in those of its outputs.

    Raises
    ------
    InputError
        If a record is not one.
    """

    def __init__(self, results: Path, about: Iterable[Path | str] | None = None) -> None:
        self.results = Path(results)
        self.jobs: list[Record] = []
        self.dates: dict[str, int] = {}  # of files, in nanoseconds, as last seen
        self._read: set[str] = set()
        self._sources: dict[int, tuple[str, int]] = {}  # where a record is, and since when
        self._redated: dict[int, Record] = {}
        self._by_output: dict[str, Record] = {}
        if about is None:
            self.read_all()
        else:
            names = [self.name(path) for path in about]
            self._read_some(lambda name: any(name in one for one in names))

    def read_all(self) -> None:
        """Read all records that have not been read."""
        self._read_some(lambda name: True)

    def _read_some(self, wanted: Callable[[str], bool]) -> None:
        for place in _walk(self.results / JOBS):
            name = place.partition("/")[2].removesuffix(".json")
            if place in self._read or not wanted(name):
                continue
            path = f"{self.results}/{JOBS}/{place}"
            text, written = _text_of(path)
            record = parse_model(text, Record, path)
            if (digest := record.record_sha256) is not None:
                unsigned = text.replace(digest.encode(), _NO_SHA256.encode(), 1)
                if hashlib.sha256(unsigned).hexdigest() != digest:
                    raise InputError(f"{path}: expected the record of a job, found a changed one")
            self._sources[id(record)] = (path, written)
            self.jobs.append(record)
            self._read.add(place)
        self.jobs.sort(key=lambda record: record.started)
        # Of several jobs that made a file, one after the other, the last counts.
        self._by_output = {output: record for record in self.jobs for output in record.outputs}

    def name(self, path: Path | str) -> str:
        """Return the name that records have for a path."""
        return os.path.relpath(path, self.results)

    def path(self, name: str) -> Path:
        """Return the path of a name in a record."""
        return Path(os.path.normpath(self.results / name))

    def of(self, name: str) -> Record | None:
        """Return the record of the job that made a file or folder, or is making it."""
        while name and name not in self._by_output:
            name = name.rpartition("/")[0]
        return self._by_output.get(name)

    def behind(self, name: str) -> list[Record]:
        """Return the finished jobs that a result was made by, its own first, each once."""
        found: dict[int, Record] = {}
        waiting = deque([name])
        while waiting:
            record = self.of(waiting.popleft())
            if record is not None and record.finished is not None and id(record) not in found:
                found[id(record)] = record
                waiting += record.inputs
        return list(found.values())

    def sha256(self, name: str, read: bool = False) -> str | None:
        """Return the SHA-256 of a result as it was made, or None if it is not as it was made.

        Of a folder, it is that over the digests of its files. A file that has the size and date
        that its record says is not read, unless ``read`` says so.
        """
        record, below = self.of(name), self._files(name)
        if not all(self._is_made(file, record, read) for file in below):
            return None
        return self.recorded_sha256(name)

    def recorded_sha256(self, name: str) -> str | None:
        """Return the SHA-256 that a result had when it was made, None of what was not."""
        record, below = self.of(name), self._files(name)
        if record is None or not below:
            return None
        if below == [name]:
            return record.files[name].sha256
        lines = [f"{record.files[file].sha256} {file[len(name) :]}" for file in below]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def taken_up(self, path: Path) -> str | None:
        """Return the SHA-256 of a job's input after reading all of it, None if it has no bytes.

        Raises
        ------
        InputError
            If it lies below the results folder and is not as the job that made it left it; the
            file is named.
        """
        name = self.name(path)
        if name.startswith(".."):
            return sha256(path) if path.is_file() else None
        if self.sha256(name) is None:
            self.read_all()
        for one in self._files(name) or [name]:
            if self.sha256(one, read=True) is None:
                raise InputError(
                    f"{self.path(one)}: expected a result as its job made it, found none, a "
                    f"changed one or one whose job was interrupted; delete {path} to have it made "
                    "again"
                )
        return self.sha256(name)

    def unproven(self) -> list[Path]:
        """Return the results that no record names, or that are not as it says.

        Those in the making are not among them.
        """
        found = []
        for name in self._result_files():
            record = self.of(name)
            if record is None or (
                record.finished is not None
                and not (name in record.files and self._is_made(name, record, False))
            ):
                found.append(self.results / name)
        self.save_dates()
        return found

    def save_dates(self) -> None:
        """Record the dates of files whose content was right, so that they are not read again.

        Snakemake touches what a job made, and copying makes new dates.
        """
        for number, record in self._redated.items():
            source, written = self._sources[number]
            if os.stat(source).st_mtime_ns == written:
                write_text(Path(source), _signed(record))
                self._sources[number] = (source, os.stat(source).st_mtime_ns)
        self._redated.clear()

    def verify(self) -> Iterator[str]:
        """Read all results, with a progress bar, and yield what is wrong with each."""
        made = {
            name: content
            for record in self.jobs
            for name, content in record.files.items()
            if self.of(name) is record and not name.startswith("..")
        }
        size = sum(content.size for content in made.values())
        with tqdm(total=size, unit="B", unit_scale=True, desc=str(self.results)) as progress:
            for name, content in sorted(made.items()):
                try:
                    if sha256(self.results / name) != content.sha256:
                        yield f"{self.results / name}: altered since its job made it"
                except OSError as error:
                    yield f"{self.results / name}: missing ({error.strerror})"
                progress.update(content.size)
        for name in self._result_files():
            record = self.of(name)
            if record is None or name not in record.files:
                making = record is not None and record.finished is None
                yield f"{self.results / name}: {'in the making' if making else 'made by no job'}"

    def _files(self, name: str) -> list[str]:
        """Return the files that were made as a result, or in it."""
        record = self.of(name)
        files = {} if record is None else record.files
        if name in files:
            return [name]
        return sorted(file for file in files if file.startswith(f"{name}/"))

    def _is_made(self, name: str, record: Record, read: bool) -> bool:
        """Return whether a file is what the job made, and note its new date if only that is new."""
        content = record.files[name]
        try:
            stat = os.stat(f"{self.results}/{name}")
            self.dates[name] = stat.st_mtime_ns
            if stat.st_size != content.size:
                return False
            dated = stat.st_mtime_ns != content.mtime_ns
            if (dated or read) and sha256(self.results / name) != content.sha256:
                return False
            if dated:
                self.note_date(name, record, stat.st_mtime_ns)
        except OSError:
            return False
        return True

    def note_date(self, name: str, record: Record, mtime_ns: int) -> None:
        """Take the new date of a file up into the record of its job, for `save_dates`."""
        self.dates[name] = record.files[name].mtime_ns = mtime_ns
        self._redated[id(record)] = record

    def _result_files(self) -> Iterator[str]:
        # Other results folders, as those of a scale, have records of their own.
        own = {path.parent.name for path in self.results.glob(f"*/{JOBS}")}
        # But not one in which jobs of this folder made something, such as a dataset of that name.
        own -= {output.partition("/")[0] for output in self._by_output}
        for name in _walk(self.results, _OTHER | own):
            if os.path.splitext(name)[1] in RESULT_SUFFIXES:
                yield name


@contextmanager
def recorded(
    results: Path,
    rule: str,
    name: str,
    outputs: Sequence[Path | str],
    *,
    inputs: Sequence[Path | str] = (),
    wildcards: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
    keeps: bool = False,
) -> Iterator[bool]:
    """Record the job that the block does, as ``RESULTS/jobs/RULE/NAME.json``.

    Parameters
    ----------
    keeps
        Keep what it makes until it has made something else; see `dansm.io.kept`.

    Yields
    ------
    bool
        Whether this very job's outputs were kept, and are there again.

    Raises
    ------
    InputError
        If an input below ``results`` is not as the job that made it left it, or the record cannot
        be written.
    """
    path = results / JOBS / rule / f"{name}.json"
    known = Records(results, about=inputs)
    started = datetime.now(UTC)
    record = Record(
        rule=rule,
        wildcards=dict(wildcards or {}),
        # What is not JSON is told by its text: a finished job does not fail for its record.
        params=json.loads(json.dumps(dict(params or {}), default=str)),
        inputs={known.name(one): known.taken_up(Path(one)) for one in inputs},
        outputs=[known.name(one) for one in outputs],
        started=started.isoformat(timespec="milliseconds"),
    )
    known.save_dates()
    write_text(path, _signed(record))
    _taken_up.update(os.path.abspath(one) for one in inputs)
    of = {"params": record.params, "inputs": record.inputs}
    kept = Kept.of(results, rule, name, record.outputs, **of) if keeps else None
    made = kept is not None and kept.give_back()
    try:
        yield made
    except OSError as error:
        check_full_disk(error, Path(str(error.filename or results)))
        raise
    finally:
        _taken_up.clear()
    finished = datetime.now(UTC)
    files = {}
    for output in record.outputs:
        below = _walk(results / output)
        for file in [f"{output}/{one}" for one in below] or [output]:
            if os.path.isfile(results / file):
                stat, digest = os.stat(results / file), sha256(results / file)
                files[file] = Content(sha256=digest, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
    changes = {
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        "peak_memory_mb": _peak_memory_mb(),
        "files": files,
        **provenance(),
    }
    write_text(path, _signed(record.model_copy(update=changes)))
    if kept is not None and not made:
        kept.keep({file: (content.sha256, content.size) for file, content in files.items()})


def _text_of(path: str) -> tuple[bytes, int]:
    """Return a record's text, which a process reads once, and when it was written."""
    stat = os.stat(path)
    version = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if _texts.get(path, (None,))[0] != version:
        with open(path, "rb") as file:
            _texts[path] = version, file.read()
    return _texts[path][1], stat.st_mtime_ns


def _signed(record: Record) -> str:
    """Return the text of a record with its own SHA-256."""
    text = record.model_copy(update={"record_sha256": _NO_SHA256}).model_dump_json(indent=1)
    return text.replace(_NO_SHA256, hashlib.sha256(text.encode()).hexdigest(), 1)


def is_proven(path: Path) -> bool:
    """Return whether a finished job made a result, all of which is compared with its record.

    Raises
    ------
    InputError
        Naming the file of it that is not as the job left it.
    """
    path = Path(path)
    if os.path.abspath(path) in _taken_up:
        return True
    results = next((folder for folder in path.parents if (folder / JOBS).is_dir()), None)
    if results is None:
        return False
    if os.path.relpath(path, results).split(os.sep)[0] in _OTHER:
        return False
    records = Records(results, about=[path])
    record = records.of(records.name(path))
    if record is None:
        records.read_all()
        record = records.of(records.name(path))
    if record is None or record.finished is None:
        return False
    records.taken_up(path)
    return True


def check_results_folder(results: Path) -> Records:
    """Check that results can be written and those there were made by this code; return records.

    Raises
    ------
    InputError
        Naming the folder that cannot be written to, or the files; see `Records.unproven`.
    """
    folder = next(path for path in (results, *results.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        kind = "folder without write permission" if folder.is_dir() else "file"
        raise InputError(
            f"{results}: the results folder must be writable, found a {kind}: {folder}"
        )
    records = Records(results)
    unproven = records.unproven()
    if unproven:
        names = "\n  ".join(map(str, unproven[:10]))
        more = f"\n  and {len(unproven) - 10} more" if len(unproven) > 10 else ""
        raise InputError(
            f"{results}: expected only files made by this workflow, found some that no job made or "
            f"that were changed since; delete them or move them elsewhere:\n  {names}{more}"
        )
    return records


def _peak_memory_mb() -> int:
    most = max(getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
    return most // (2**20 if sys.platform == "darwin" else 2**10)


def _walk(folder: Path, skip: Container[str] = ()) -> Iterator[str]:
    """Yield the names of all files in a folder and below, but for hidden ones.

    Not those in folders to skip directly below it, nor what a run's folder has beside results.
    """
    root = str(folder)
    for place, subfolders, names in os.walk(root):
        below = place[len(root) + 1 :]
        other = _OTHER_OF_RUN if _RUN.fullmatch(below) else () if below else skip
        subfolders[:] = sorted(n for n in subfolders if not n.startswith(".") and n not in other)
        for name in sorted(names):
            if not name.startswith("."):
                yield f"{below}/{name}" if below else name
