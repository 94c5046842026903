"""Records of jobs, by which every result is proven and can be traced.

A job's record is ``RESULTS/jobs/RULE/NAME.json``. It is written when the job starts, naming the
outputs that are *in the making*, and again when it ends, with the SHA-256, size and modification
time of every file made. A result that no record names, or that differs from its record, was not
made by this code. Where size and modification time agree, no file is read.
"""

import hashlib
import itertools
import json
import os
import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tqdm import tqdm

from dansm.errors import InputError
from dansm.io.files import parse_model, sha256, write_text
from dansm.io.provenance import provenance

JOBS = "jobs"
RESULT_SUFFIXES = frozenset(
    {".csv", ".ipynb", ".json", ".jsonl", ".npy", ".npz", ".pdf", ".png", ".safetensors"}
)
# Folders directly below a results folder that hold none: logs, states of interrupted jobs, and the
# archive, which has a record of its own.
_OTHER = frozenset({JOBS, "logs", "benchmarks", "encoding", "training", "reference"})
# The same directly below a run's folder.
_RUN = re.compile(r"runs(/[^/]+){3}")
_OTHER_OF_RUN = frozenset({"training", "png"})
_CHUNK = 2**22


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


class Record(Origin):
    """A job: what it was told, made and used.

    Attributes
    ----------
    results
        The results folder, as the names below it begin.
    inputs
        The SHA-256 of each input when the job started; of a folder, that over its files.
    finished
        None while the outputs are in the making.
    files
        Each file made, those in folders too.
    """

    rule: str
    wildcards: dict[str, str]
    params: dict[str, Any]
    results: str
    inputs: dict[str, str | None]
    outputs: list[str]
    started: str
    finished: str | None = None
    seconds: float = 0
    files: dict[str, Content] = {}

    def moved(self, results: str) -> "Record":
        """Return the record with names as they are when the results folder has another one."""

        def name(old: str) -> str:
            below = Path(old).is_relative_to(self.results)
            return (
                (Path(results) / Path(old).relative_to(self.results)).as_posix() if below else old
            )

        return self.model_copy(
            update={
                "results": results,
                "inputs": {name(path): digest for path, digest in self.inputs.items()},
                "outputs": [name(path) for path in self.outputs],
                "files": {name(path): content for path, content in self.files.items()},
            }
        )


class Records:
    """The records of a results folder.

    Parameters
    ----------
    results
        The folder; names of results begin with it.
    about
        Names; only the records that mention one of them are read.

    Raises
    ------
    InputError
        If a record is not one.
    """

    def __init__(self, results: Path, about: Iterable[str] | None = None) -> None:
        self.results = Path(results)
        self.jobs: list[Record] = []
        # Where each record is, when it was written, and what the results folder was called then.
        self._sources: dict[int, tuple[str, int, str]] = {}
        self._dated: dict[int, Record] = {}
        needles = None if about is None else [_needle(self.results, name) for name in about]
        for path in _walk(f"{self.results.as_posix()}/{JOBS}"):
            with open(path, "rb") as file:
                text, written = file.read(), os.fstat(file.fileno()).st_mtime_ns
            if needles is not None and not any(needle in text for needle in needles):
                continue
            record = parse_model(text, Record, path)
            called = record.results
            if called != self.results.as_posix():
                record = record.moved(self.results.as_posix())
            self._sources[id(record)] = (path, written, called)
            self.jobs.append(record)
        self.jobs.sort(key=lambda record: record.started)
        # Of several jobs that made a file, one after the other, the last counts.
        self._by_output = {output: record for record in self.jobs for output in record.outputs}

    def of(self, path: Path | str) -> Record | None:
        """Return the record of the job that made a file or folder, or is making it."""
        name = path if isinstance(path, str) else path.as_posix()
        while name:
            if name in self._by_output:
                return self._by_output[name]
            name = name.rpartition("/")[0]
        return None

    def behind(self, path: Path | str) -> list[Record]:
        """Return the finished jobs that a result was made by, its own first, each once."""
        found: dict[int, Record] = {}
        waiting = deque([path])
        while waiting:
            record = self.of(waiting.popleft())
            if record is not None and record.finished is not None and id(record) not in found:
                found[id(record)] = record
                waiting += record.inputs
        return list(found.values())

    def sha256(self, path: Path | str) -> str | None:
        """Return the SHA-256 of a result as it was made, or None if it is not as it was made.

        Of a folder, it is that over the digests of its files.
        """
        name = path if isinstance(path, str) else path.as_posix()
        record = self.of(name)
        if record is None:
            return None
        if name in record.files:
            return record.files[name].sha256 if self._is_made(name, record) else None
        below = {file: found for file, found in record.files.items() if _is_below(file, name)}
        if not below or not all(self._is_made(file, record) for file in below):
            return None
        lines = [f"{content.sha256} {file[len(name) :]}" for file, content in sorted(below.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def unproven(self, skip: Iterable[str] = ()) -> list[str]:
        """Return the results that no record names, or that are not as it says.

        Those in the making are not among them.

        Parameters
        ----------
        skip
            Names of further folders directly below the results folder that hold none of its own.
        """
        found = []
        for name in _result_files(self.results, skip):
            record = self.of(name)
            if record is None or (record.finished is not None and self.sha256(name) is None):
                found.append(name)
        # The files of a copied folder are read once, not at every start.
        for number, record in self._dated.items():
            path, written, called = self._sources[number]
            if os.stat(path).st_mtime_ns == written:
                _write(Path(path), record.moved(called))
        return found

    def verify(self) -> Iterator[str]:
        """Read all results, with a progress bar, and yield what is wrong with each."""
        files = {
            name: content
            for record in self.jobs
            for name, content in record.files.items()
            if _is_below(name, self.results.as_posix()) and self.of(name) is record
        }
        total = sum(content.size for content in files.values())
        with tqdm(total=total, unit="B", unit_scale=True, desc="verify") as progress:
            for name, content in sorted(files.items()):
                try:
                    found = _sha256(name, progress)
                except FileNotFoundError:
                    yield f"{name}: missing"
                except OSError as error:
                    yield f"{name}: cannot be read; {error.strerror}"
                else:
                    if found != content.sha256:
                        yield f"{name}: altered; expected sha256 {content.sha256}, found {found}"
        for name in _result_files(self.results):
            record = self.of(name)
            if record is None or (record.finished is not None and name not in record.files):
                yield f"{name}: made by no job on record"
            elif record.finished is None:
                yield f"{name}: its job, {record.rule}, has not finished"

    def _is_made(self, name: str, record: Record) -> bool:
        """Return whether a file is what the job made, and note its new date if only that is new."""
        content = record.files[name]
        try:
            stat = os.stat(name)
            if stat.st_size != content.size:
                return False
            if stat.st_mtime_ns != content.mtime_ns:
                if sha256(Path(name)) != content.sha256:
                    return False
                content.mtime_ns = stat.st_mtime_ns
                self._dated[id(record)] = record
        except OSError:
            return False
        return True


@contextmanager
def recorded(
    results: Path,
    rule: str,
    name: str,
    outputs: Sequence[str],
    *,
    inputs: Sequence[str] = (),
    wildcards: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Record the job that the block does, as started before it and as finished after it.

    Parameters
    ----------
    results
        The folder that the record is in.
    rule, name
        Of the record: ``RESULTS/jobs/RULE/NAME.json``.
    outputs, inputs
        Files and folders.
    wildcards, params
        What the job was told.

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
        results=results.as_posix(),
        inputs={Path(one).as_posix(): _input_sha256(one, known) for one in inputs},
        outputs=[Path(one).as_posix() for one in outputs],
        started=started.isoformat(timespec="milliseconds"),
    )
    _write(path, record)
    yield
    finished = datetime.now(UTC)
    contents = {}
    for file in itertools.chain.from_iterable(map(_files, record.outputs)):
        stat = os.stat(file)
        contents[file] = Content(
            sha256=sha256(Path(file)), size=stat.st_size, mtime_ns=stat.st_mtime_ns
        )
    changes = {
        "finished": finished.isoformat(timespec="milliseconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        "files": contents,
        **provenance(),
    }
    _write(path, record.model_copy(update=changes))


def known_sha256(path: Path) -> str | None:
    """Return the SHA-256 that a file in a results folder has by its record, without reading it.

    None, if there is no record of it, or it has another size or modification time.
    """
    path = Path(path)
    for folder in path.parents:
        if (folder / JOBS).is_dir():
            record = Records(folder, about=[path.as_posix()]).of(path)
            content = None if record is None else record.files.get(path.as_posix())
            if content is None:
                return None
            stat = path.stat()
            same = (stat.st_size, stat.st_mtime_ns) == (content.size, content.mtime_ns)
            return content.sha256 if same else None
    return None


def check_results_folder(results: Path, skip: Iterable[str] = ()) -> None:
    """Check that results can be written, and that those there were made by this code.

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
    unproven = Records(results).unproven(skip)
    if unproven:
        names = "\n  ".join(unproven[:10])
        more = f"\n  and {len(unproven) - 10} more" if len(unproven) > 10 else ""
        raise InputError(
            f"{results}: expected only files made by this workflow, found some that no job made or "
            f"that were changed since; delete them or move them elsewhere:\n  {names}{more}"
        )


def _result_files(results: Path, skip: Iterable[str] = ()) -> Iterator[str]:
    """Yield the names of all files that are results."""
    # Other results folders, as those of a scale, have records of their own.
    own = {path.parent.name for path in results.glob(f"*/{JOBS}")}
    for name in _walk(results.as_posix(), _OTHER.union(skip, own)):
        if os.path.splitext(name)[1] in RESULT_SUFFIXES:
            yield name


def _walk(folder: str, skip: Container[str] = ()) -> Iterator[str]:
    """Yield the names of all files in a folder and below, but for hidden ones.

    Not those in folders to skip directly below it, nor those that belong to an unfinished run.
    """
    for place, subfolders, names in os.walk(folder):
        below = place[len(folder) + 1 :]
        subfolders[:] = [
            name
            for name in sorted(subfolders)
            if not name.startswith(".")
            and (below or name not in skip)
            and not (_RUN.fullmatch(below) and name in _OTHER_OF_RUN)
        ]
        yield from (f"{place}/{name}" for name in sorted(names) if not name.startswith("."))


def _files(output: str) -> Iterable[str]:
    """Return an output, or the files in it; Snakemake's own in it are hidden."""
    return [output] if os.path.isfile(output) else _walk(output)


def _input_sha256(path: str, known: Records) -> str | None:
    if not _is_below(Path(path).as_posix(), known.results.as_posix()):
        return sha256(Path(path)) if Path(path).is_file() else None
    found = known.sha256(path)
    if found is None:
        raise InputError(
            f"{path}: expected a result as its job made it, found none, a changed one or one whose "
            "job was interrupted; delete it to have it made again"
        )
    return found


def _is_below(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")


def _needle(results: Path, name: str) -> bytes:
    """Return what the text of a record contains that mentions a name."""
    path = Path(name)
    below = path.relative_to(results) if path.is_relative_to(results) else path
    return json.dumps(below.as_posix(), ensure_ascii=False)[1:-1].encode()


def _sha256(name: str, progress: tqdm) -> str:
    digest = hashlib.sha256()
    with open(name, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            progress.update(len(chunk))
    return digest.hexdigest()


def _write(path: Path, record: Record) -> None:
    write_text(path, record.model_dump_json(indent=1) + "\n")
