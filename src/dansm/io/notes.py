"""Notes of measurements that are done, so that an interrupted job goes on where it stopped.

One line a measurement, in a file that is no declared output: Snakemake deletes the outputs of
interrupted jobs.
"""

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
    for line in path.read_text().splitlines():
        try:
            note = json.loads(line)
        except json.JSONDecodeError:
            break  # cut short by an interruption; this one is measured again
        if note["identity"] == identity:
            done[note["key"]] = note["rows"]
    return done


def append_note(path: Path, identity: str, key: str, rows: Rows) -> None:
    """Note the rows of a finished measurement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"identity": identity, "key": key, "rows": rows}) + "\n")
