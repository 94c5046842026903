"""Results of real runs that are published with the code, below ``results/reference/``.

Files there have the names that they have below ``results/``. ``run.json`` says of each how it was
made, and holds its checksum, so that a file that was changed since is refused.
"""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dansm.errors import InputError
from dansm.io.files import atomic_path, is_proven, read_json, sha256, write_json
from dansm.io.provenance import PROVENANCE
from dansm.workflow.jobs import jobs_behind, read_records

REFERENCE = Path("results/reference")
RUN = "run.json"
LARGEST = 5 * 2**20  # bytes; everyone who clones the repository gets the archive
_DATA = (".csv", ".npz")


def archive(
    files: Sequence[Path],
    results: Path,
    reference: Path = REFERENCE,
    run: dict[str, Any] | None = None,
    command: str | None = None,
) -> list[Path]:
    """Copy results into the archive, figures with the tables that they are drawn from.

    Parameters
    ----------
    files
        Below ``results``.
    run
        For files that no job of the workflow made: ``commit``, ``uncommitted_changes``,
        ``versions`` and ``hardware``, as in the ``run.json`` of a run, and ``seconds``.
    command
        What made them, likewise.

    Returns
    -------
    list of Path
        The figures' data that was left out because it is larger than `LARGEST`.

    Raises
    ------
    InputError
        If a file is not below ``results``, missing, changed since it was made, too large, or
        nothing is known of how it was made.
    """
    records = read_records(results)
    entries = read_archive(reference) if (reference / RUN).exists() else {}
    wanted, left_out = list(dict.fromkeys(files)), []
    for path in files:
        for data in map(Path, records.get(str(path), {}).get("inputs", [])):
            if data.suffix in _DATA and data not in wanted:
                large = data.exists() and data.stat().st_size > LARGEST
                (left_out if large else wanted).append(data)
    for path in wanted:
        if not path.is_relative_to(results):
            raise InputError(f"{path}: expected a file below {results}")
        if not is_proven(path):
            raise InputError(
                f"{path}: expected a result as it was made, found none or a changed one"
            )
        if path.stat().st_size > LARGEST:
            raise InputError(
                f"{path}: expected at most {LARGEST:,} bytes, found {path.stat().st_size:,}"
            )
        made = _by_hand(path, run, command) if run else _by_jobs(path, records)
        name = path.relative_to(results).as_posix()
        entries[name] = {"sha256": sha256(path), **made}
    for path in wanted:
        with atomic_path(reference / path.relative_to(results)) as partial:
            shutil.copyfile(path, partial)
    write_json(reference / RUN, {"files": entries})
    return left_out


def read_archive(reference: Path = REFERENCE) -> dict[str, dict[str, Any]]:
    """Return how each archived file was made, by its name below the archive.

    Raises
    ------
    InputError
        If ``run.json`` or a file that it names is missing, or a file was changed.
    """
    entries = read_json(reference / RUN)["files"]
    for name, entry in entries.items():
        path = reference / name
        if not path.is_file():
            raise InputError(f"{path}: expected the file that {RUN} names, found none")
        found = sha256(path)
        if found != entry["sha256"]:
            raise InputError(f"{path}: expected sha256 {entry['sha256']} by {RUN}, found {found}")
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
    names = sorted(read_json(reference / RUN)["files"])
    if name not in names:
        raise InputError(
            f"{reference / name}: expected an archived result, found none; {reference} holds "
            f"{', '.join(names) or 'none'}"
        )
    return reference / name


def _by_jobs(path: Path, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return how the workflow made a file: versions and hardware are those of the longest job."""
    jobs = jobs_behind(str(path), records)
    if not jobs:
        raise InputError(f"{path}: expected the record of the job that made it, found none")
    longest = max(jobs, key=lambda job: job["seconds"])
    return {
        "command": f"snakemake {path}",
        **{key: longest[key] for key in PROVENANCE},
        "commit": jobs[0]["commit"],
        "uncommitted_changes": any(job["uncommitted_changes"] for job in jobs),
        "made": jobs[0]["finished"],
        "jobs": len(jobs),
        "seconds": round(sum(job["seconds"] for job in jobs), 1),
        "inputs": [name for name in jobs[0]["inputs"] if name.endswith((*_DATA, ".ipynb"))],
    }


def _by_hand(path: Path, run: dict[str, Any], command: str | None) -> dict[str, Any]:
    missing = sorted({*PROVENANCE, "seconds"} - set(run))
    if missing or command is None:
        raise InputError(
            f"{path}: expected its command, and keys {missing} of the run that made it"
        )
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    found = {key: run[key] for key in (*PROVENANCE, "seconds")}
    return {"command": command, **found, "made": made, "jobs": 1, "inputs": []}
