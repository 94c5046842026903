"""Where published datasets can be downloaded, file by file."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dansm.catalogue import SOURCES
from dansm.config import Source


class PublishedFile(NamedTuple):
    """A file that a source reads and that can be downloaded.

    Attributes
    ----------
    path
        Where the source looks for it.
    addresses
        Where it is found, in the order to try.
    checksum
        ``md5:…`` or ``sha256:…``; None if none is known.
    unpacked
        What it unpacks to, which makes it unnecessary.
    """

    path: Path
    addresses: list[str]
    checksum: str | None
    unpacked: Path


def files_are_there(source: Source) -> bool:
    """Tell whether all that a source reads is there, packed or unpacked, if it is published."""
    files = published_files(source).values()
    # Of a folder that may not be entered, they say no: its own jobs say why.
    return all(os.path.exists(file.path) or os.path.exists(file.unpacked) for file in files)


def published_files(source: Source, mirrors: Iterable[str] = ()) -> dict[str, PublishedFile]:
    """Return the published files that a source reads, by name; none for a folder of one's own.

    Parameters
    ----------
    mirrors
        Addresses of folders (``https://…``, ``http://…``, ``file:…``) that hold the files under
        their published names; they are tried first.
    """
    entry = SOURCES.get(source.kind)
    if entry is None:  # latents, which are made of another dataset
        return {}
    fields = source.model_dump()
    own = fields.get("sha256") and f"sha256:{fields['sha256']}"
    files = {}
    published = entry.files
    if fields.get("part") == "test":
        published = entry.test_files or entry.files
    for pattern, (unpacked, checksum) in published.items():
        name = pattern.format(**fields)
        files[name] = PublishedFile(
            source.folder / name,
            [f"{folder.removesuffix('/')}/{name}" for folder in (*mirrors, entry.home)],
            checksum or own,
            source.folder / unpacked.format(**fields),
        )
    return files
