"""Shards of a store in the making, which outlive an interruption.

They are finished one by one in a folder of their own, which is no declared output: Snakemake
deletes those of interrupted jobs.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dansm.data.store import check_values, shard_name
from dansm.io.files import atomic_path, read_json, sha256, write_json, write_text

_IDENTITY = "identity.json"
_DIGESTS = "{:05d}.sha256"  # of a shard's files, written last


@dataclass(frozen=True)
class ShardFolder:
    """Folder of the shards that are finished.

    Attributes
    ----------
    parts
        Names of the arrays that each shard consists of.
    count, rows
        Rows of all shards, and of one; the last may have fewer.
    """

    path: Path
    parts: list[str]
    count: int
    rows: int

    def take_up(self, identity: dict[str, Any]) -> list[int]:
        """Return the numbers of the shards to make; keep the others, if they are of this identity.

        The identity is what the shards depend on.
        """
        note = self.path / _IDENTITY
        identity = {**identity, "parts": self.parts, "count": self.count, "rows": self.rows}
        identity = json.loads(json.dumps(identity))  # which has no tuples
        if not note.exists() or read_json(note) != identity:
            if self.path.exists():
                print(f"{self.path}: of something else, starting anew", flush=True)
                shutil.rmtree(self.path)
            write_json(note, identity)
        return [k for k in range(math.ceil(self.count / self.rows)) if not self._is_finished(k)]

    def _is_finished(self, shard: int) -> bool:
        note = self.path / _DIGESTS.format(shard)
        try:
            finished = note.read_bytes() == self._digests(shard)
        except FileNotFoundError:
            return False
        if not finished:
            print(f"{self.path}: shard {shard} was changed, it is made again", flush=True)
        return finished

    def _digests(self, shard: int) -> bytes:
        files = (self.path / shard_name(part, shard) for part in self.parts)
        return " ".join(sha256(file) for file in files).encode()

    def rows_of(self, shard: int) -> range:
        """Return the rows of a shard."""
        return range(shard * self.rows, min((shard + 1) * self.rows, self.count))

    def files(self, part: str) -> list[Path]:
        """Return a part's files, in order."""
        shards = range(math.ceil(self.count / self.rows))
        return [self.path / shard_name(part, shard) for shard in shards]

    def write(self, shard: int, arrays: Mapping[str, np.ndarray], what: str) -> None:
        """Write a shard's parts.

        Raises
        ------
        InputError
            Naming ``what`` it is, if a part is not finite.
        """
        rows = self.rows_of(shard)
        for part in self.parts:
            check_values(arrays[part], None, f"{what} {rows[0]} to {rows[-1]}, {part}")
        for part in self.parts:
            file = self.path / shard_name(part, shard)
            with atomic_path(file) as partial, open(partial, "wb") as content:
                np.save(content, arrays[part])
        write_text(self.path / _DIGESTS.format(shard), self._digests(shard).decode())
