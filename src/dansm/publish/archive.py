"""Results of real runs that are published with the code, below ``results/reference/``.

Files there have the names that they have below ``results/``. ``run.json`` says of each how it was
made, and holds its checksum, so that a file that was changed since is refused. The folder ``gpu``
is none of it: `make gpu` writes there, each time with all that was known of the machine.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from dansm.errors import InputError
from dansm.io.files import atomic_path, read_model, sha256, write_json
from dansm.io.records import Origin, Records

REFERENCE = Path("results/reference")
DRAWN = Path("results/from_reference")
RUN = "run.json"
LARGEST = 5 * 2**20  # bytes; everyone who clones the repository gets the archive
_DATA = (".csv", ".npz")


class Archived(Origin):
    """How an archived file was made: versions and hardware are those of the longest job.

    ``migrated`` says what was done with it since, if anything.
    """

    sha256: str
    command: str
    made: str
    jobs: int
    seconds: float | None
    inputs: list[str]
    migrated: str | None = None


class _Index(BaseModel):
    files: dict[str, Archived]


def archive(files: Sequence[Path], results: Path, reference: Path = REFERENCE) -> list[Path]:
    """Copy results into the archive, figures with the tables that they are drawn from.

    Parameters
    ----------
    files
        Below ``results``.
    results
        Their folder; of figures that were drawn from archived tables, `DRAWN`.
    reference
        The archive.

    Returns
    -------
    list of Path
        The figures' data that was left out because it is larger than `LARGEST`.

    Raises
    ------
    InputError
        If a file is not below ``results``, missing, changed since it was made, too large, or
        no record of the job that made it is there.
    """
    records = Records(results)
    entries = read_archive(reference) if (reference / RUN).exists() else {}
    wanted, left_out = list(dict.fromkeys(files)), []
    for path in files:
        record = records.of(records.name(path))
        for data in map(records.path, [] if record is None else record.inputs):
            if data.suffix in _DATA and data not in wanted:
                large = data.exists() and data.stat().st_size > LARGEST
                (left_out if large else wanted).append(data)
    for path in wanted:
        name, entry = records.name(path), _described(path, records)
        # What was taken out of the archive is known better there.
        if name not in entries or entries[name].sha256 != entry.sha256:
            entries[name] = entry
    for path in wanted:
        with atomic_path(reference / path.relative_to(results)) as partial:
            shutil.copyfile(path, partial)
    write_json(reference / RUN, _Index(files=entries).model_dump(exclude_unset=True))
    return left_out


def read_archive(reference: Path = REFERENCE) -> dict[str, Archived]:
    """Return how each archived file was made, by its name below the archive.

    Raises
    ------
    InputError
        If ``run.json`` or a file that it names is missing, or a file was changed.
    """
    entries = read_model(reference / RUN, _Index).files
    for name, entry in entries.items():
        path = reference / name
        if not path.is_file():
            raise InputError(f"{path}: expected the file that {RUN} names, found none")
        found = sha256(path)
        if found != entry.sha256:
            raise InputError(f"{path}: expected sha256 {entry.sha256} by {RUN}, found {found}")
    return entries


def take(name: str, path: Path, reference: Path = REFERENCE) -> None:
    """Copy an archived file out of the archive.

    Raises
    ------
    InputError
        As `read_archive`, or if it is not archived.
    """
    archived = archived_path(name, reference)
    read_archive(reference)
    with atomic_path(path) as partial:
        shutil.copyfile(archived, partial)


def archived_path(name: str, reference: Path = REFERENCE) -> Path:
    """Return the path of an archived file.

    Raises
    ------
    InputError
        If it is not archived.
    """
    names = read_model(reference / RUN, _Index).files
    if name not in names:
        beside = [other for other in sorted(names) if Path(other).parent == Path(name).parent]
        raise InputError(
            f"{reference / name}: expected an archived result, found none; beside it are "
            f"{', '.join(beside) or 'none'}"
        )
    return reference / name


def _described(path: Path, records: Records) -> Archived:
    if not path.is_relative_to(records.results):
        raise InputError(f"{path}: expected a file below {records.results}")
    name = records.name(path)
    jobs = records.behind(name)
    if not jobs:
        raise InputError(f"{path}: expected the record of the job that made it, found none")
    digest = records.sha256(name)
    if digest is None:
        raise InputError(f"{path}: expected a result as it was made, found none or a changed one")
    size = path.stat().st_size
    if size > LARGEST:
        raise InputError(f"{path}: expected at most {LARGEST:,} bytes, found {size:,}")
    longest = max(jobs, key=lambda job: job.seconds)
    changed = {job.uncommitted_changes for job in jobs}
    return Archived(
        sha256=digest,
        command=f"snakemake {path}"
        + (" --config from=reference" if records.results == DRAWN else ""),
        commit=jobs[0].commit,
        uncommitted_changes=True if True in changed else None if None in changed else False,
        versions=longest.versions,
        hardware=longest.hardware,
        made=jobs[0].finished or "",
        jobs=len(jobs),
        seconds=round(sum(job.seconds for job in jobs), 1),
        inputs=[
            records.path(name).as_posix()
            for name in jobs[0].inputs
            if name.endswith((*_DATA, ".ipynb"))
        ],
    )
