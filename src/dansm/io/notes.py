"""Notes of measurements that are done, so that an interrupted job goes on where it stopped.

One line a measurement, with its checksum before it, in a file that is no declared output: Snakemake
deletes the outputs of interrupted jobs.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def read_notes(path: Path, identity: str) -> dict[str, Rows]:
    """Return the rows noted under each key.

    Parameters
    ----------
    path
        The file; none is as good as an empty one.
    identity
        What the measurements depend on: notes taken under another one do not count.
    """
    if not path.exists():
        return {}
    done = {}
    for line in path.read_bytes().splitlines():
        digest, _, text = line.partition(b" ")
        # Those cut short by an interruption, or changed since, are measured again.
        if hashlib.sha256(text).hexdigest().encode() == digest:
            note = json.loads(text)
            if note["identity"] == identity:
                done[note["key"]] = note["rows"]
    return done


def append_note(path: Path, identity: str, key: str, rows: Rows) -> None:
    """Note the rows of a finished measurement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"identity": identity, "key": key, "rows": rows}).encode()
    with open(path, "ab") as file:
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # after one cut short
        file.write(hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n")
