"""Downloads that go on after an interruption and are checked before they get their name."""

import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from pydantic import BaseModel, NonNegativeInt
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from dansm.errors import InputError
from dansm.io.files import check_free_space, check_full_disk, locked, publish_partial

_CHUNK_BYTES = 1024 * 1024
_TIMEOUT = (30, 60)  # s, to connect and between two pieces
_LONGEST_PAUSE = 60.0  # s
_SENSELESS = tuple(
    getattr(requests.exceptions, name) for name in ("InvalidURL", "InvalidSchema", "MissingSchema")
)
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


class _TryAgainError(Exception):
    """Another attempt at the address may bring more."""


class _RefusedError(Exception):
    """Another attempt at the address is of no use, it will not give the file."""


# First bytes of files, by the ending of their names.
_BEGINNINGS = {".zip": b"PK", ".gz": b"\x1f\x8b"}
_CHECKSUM = re.compile(r"(md5|sha1|sha256|sha512):[0-9a-f]+")


class _Origin(BaseModel):
    address: str
    size: NonNegativeInt | None
    version: str | None


class _Stream(NamedTuple):
    """What an address answers: pieces of the file from byte ``first`` on."""

    pieces: Iterable[bytes]
    first: int
    size: int | None  # of the whole file
    version: str | None  # what changes when the file does


def download(
    path: Path,
    addresses: list[str],
    checksum: str | None = None,
    *,
    attempts: int = 8,
    pause: float = 1.0,
) -> dict[str, Any]:
    """Download a file, unless it is there, and check it.

    The bytes are collected in ``.NAME.partial`` beside it. Later attempts, also those of a later
    process, ask for the rest only. A second process that wants the same file waits for the first.

    Parameters
    ----------
    addresses
        Tried in this order: ``https://…``, ``http://…`` or ``file:…``.
    checksum
        ``md5:…`` or ``sha256:…``; None if none is known.
    attempts
        Attempts at an address that bring nothing new, one after another, before the next address
        is tried.
    pause
        Seconds to wait after the first such attempt; doubled with each, up to a minute.

    Returns
    -------
    dict
        ``path``, ``size`` in bytes, ``sha256``, the ``checksum`` it was compared with and the
        ``address`` it came from (None if it was there).

    Raises
    ------
    InputError
        If no address gives the file, with the reason of each; if the disk is too full; or if a
        file that is there has another checksum. Nothing is left under the file's name but what was
        there before.
    """
    path = Path(path)
    if checksum is not None and not _CHECKSUM.fullmatch(checksum):
        raise InputError(f"{path}: expected a checksum md5:… or sha256:…, found {checksum}")
    reasons = []
    with _one_line(path):
        if not path.exists():
            with locked(path):
                # Unless another process has just downloaded it.
                for address in addresses if not path.exists() else []:
                    partial = _Partial(path, address, checksum)
                    try:
                        partial.complete(attempts, pause)
                        return partial.publish()
                    except _RefusedError as refused:
                        reasons.append(f"{address}: {refused}")
                        print(reasons[-1], flush=True)
        if not path.exists():
            raise InputError(f"{path}: cannot be downloaded; {'; '.join(reasons)}")
        record, problem = _examined(path, path.name, checksum)
    if problem:
        raise InputError(f"{path}: {problem}; delete it to download it again")
    return record


def provide(
    path: Path, addresses: list[str], checksum: str | None, unpacked: Path
) -> dict[str, Any]:
    """Download a file as `download` does, unless the site has it or what it unpacks to.

    A file that was there may have been packed anew, so that another checksum says nothing against
    it; it is printed, and the file's own format tells whether it is complete.

    Returns
    -------
    dict
        The record of the download, without ``checksum`` if the file that was there has another;
        or only the ``path`` of what the file unpacks to.
    """
    path = Path(path)
    if os.path.exists(unpacked):
        return {"path": str(unpacked)}
    if not os.path.isfile(path):
        return download(path, addresses, checksum)
    with _one_line(path):
        if problem := _not_of_its_kind(path, path.name):
            raise InputError(f"{path}: {problem}; delete it to download it again")
        record, problem = _examined(path, path.name, checksum)
    if problem:
        print(f"{path}: {problem}; taken as it is, for it was there", flush=True)
    return record | {"checksum": None if problem else checksum}


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: expected a file, or a place for one, found {error}") from error


class _Partial:
    """The beginning of a file that is being downloaded from an address."""

    def __init__(self, path: Path, address: str, checksum: str | None) -> None:
        self.path, self.address, self.checksum = path, address, checksum
        self.partial = path.with_name(f".{path.name}.partial")
        self.note = path.with_name(f".{path.name}.partial.json")
        # What the bytes are the beginning of: address, size of the whole and version.
        self.origin: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # none yet, or its writing was interrupted
            self.origin = _Origin.model_validate_json(self.note.read_bytes()).model_dump()
        # The checksum will tell whether bytes from elsewhere belong to the same file.
        if not self.origin or (self.origin["address"] != address and checksum is None):
            self.discard()

    @property
    def size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def discard(self) -> None:
        self.partial.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.origin = {}

    def complete(self, attempts: int, pause: float) -> None:
        """Append until all is there, or ``attempts`` attempts brought nothing new."""
        longest, failures = self.size, 0
        while True:
            try:
                self._append()
                return
            except _TryAgainError as again:
                failures = 0 if self.size > longest else failures + 1
                longest = max(longest, self.size)
                if failures == attempts:
                    raise _RefusedError(
                        f"{again} (attempt {attempts} without a byte more)"
                    ) from None
                seconds = min(_LONGEST_PAUSE, pause * 2 ** max(0, failures - 1))
                print(
                    f"{self.address}: {again}; going on from byte {self.size} in {seconds:.0f} s",
                    flush=True,
                )
                time.sleep(seconds)

    def publish(self) -> dict[str, Any]:
        """Check the complete file and give it its name, or discard it; return its record."""
        record, problem = _examined(self.partial, self.path.name, self.checksum)
        if problem:
            self.discard()
            raise _RefusedError(problem)
        if self.checksum is None:
            print(f"{self.path}: no checksum is known; sha256 {record['sha256']}", flush=True)
        publish_partial(self.partial, self.path)
        self.discard()
        return record | {"path": str(self.path), "address": self.address}

    def _append(self) -> None:
        total = self.origin.get("size")
        if self.size and self.size == total:
            return
        with self._opened() as stream:
            needed = 0 if stream.size is None else stream.size - stream.first
            check_free_space(self.path.parent, needed, self.path)
            self.origin = {"address": self.address, "size": stream.size, "version": stream.version}
            self.note.write_text(json.dumps(self.origin), encoding="utf-8")
            progress = tqdm(
                initial=stream.first,
                total=stream.size,
                unit="B",
                unit_scale=True,
                desc=self.path.name,
                mininterval=5,
            )
            try:
                with progress, open(self.partial, "ab" if stream.first else "wb") as file:
                    for piece in stream.pieces:
                        file.write(piece)
                        progress.update(len(piece))
            except OSError as error:  # the disk's; those of the network have other types
                check_full_disk(error, self.path)
                raise InputError(
                    f"{self.path}: the download stopped after {self.size} bytes; {error.strerror}"
                ) from error
        if stream.size is not None and self.size != stream.size:
            raise _TryAgainError(f"cut off after {self.size} of {stream.size} bytes")

    @contextmanager
    def _opened(self) -> Iterator[_Stream]:
        if self.address.startswith("file:"):
            yield _local(Path(unquote(urlsplit(self.address).path)))
            return
        # Transparent compression would make byte positions meaningless.
        headers = {"Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.origin.get("version") and self.origin["address"] == self.address:
                headers["If-Range"] = self.origin["version"]
        try:
            with requests.get(
                self.address, headers=headers, stream=True, timeout=_TIMEOUT
            ) as response:
                yield self._stream(response)
        except _SENSELESS as error:
            raise _RefusedError(str(error)) from error
        except (requests.RequestException, HTTPError) as error:
            cause: BaseException = error
            while cause.__context__ is not None:  # says more than the wrappers around it
                cause = cause.__context__
            raise _TryAgainError(f"{type(error).__name__}, {cause}") from error

    def _stream(self, response: requests.Response) -> _Stream:
        status = f"HTTP {response.status_code} {response.reason}"
        if response.status_code in _TEMPORARY:
            raise _TryAgainError(status)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            self.discard()
            raise _TryAgainError(f"{status}, starting over")
        if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
            raise _RefusedError(status)
        etag = response.headers.get("ETag", "")
        # A weak ETag does not promise equal bytes, so it cannot guard a range.
        version = etag if etag and not etag.startswith("W/") else None
        version = version or response.headers.get("Last-Modified")
        pieces = response.raw.stream(_CHUNK_BYTES, decode_content=False)
        if response.status_code == requests.codes.ok:  # also where the server knows no ranges
            length = re.fullmatch(r"\d{1,18}", response.headers.get("Content-Length", ""))
            return _Stream(pieces, 0, length and int(length[0]), version)
        given = response.headers.get("Content-Range", "")
        parts = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", given)
        size = None if parts is None or parts[2] == "*" else int(parts[2])
        if parts is None or int(parts[1]) != self.size or size != self.origin["size"]:
            expected = f"bytes {self.size}- of {self.origin['size']}"
            self.discard()
            raise _TryAgainError(f"expected {expected}, found {given!r}, starting over")
        return _Stream(pieces, self.size, size, version)


def _local(source: Path) -> _Stream:
    """Return the stream of a file on this machine."""

    def pieces() -> Iterator[bytes]:
        try:
            with open(source, "rb") as file:
                while piece := file.read(_CHUNK_BYTES):
                    yield piece
        except OSError as error:
            raise _RefusedError(error.strerror) from error

    try:
        found = source.stat()
    except OSError as error:
        raise _RefusedError(error.strerror) from error
    if not stat.S_ISREG(found.st_mode):
        raise _RefusedError("expected a file, found something else of that name")
    return _Stream(pieces(), 0, found.st_size, None)


def _not_of_its_kind(path: Path, name: str) -> str | None:
    """Return what speaks against a file's being an archive of the kind that its name says."""
    ending = Path(name).suffix
    with open(path, "rb") as file:
        first = file.read(16)
    if first and first.startswith(_BEGINNINGS.get(ending, b"")):
        return None
    found = f"one that begins with {first!r}" if first else "an empty one"
    return f"expected a {ending} file, found {found}"


def _examined(path: Path, name: str, checksum: str | None) -> tuple[dict[str, Any], str | None]:
    """Return the record of a file, and what speaks against it, if anything does.

    That is another checksum, or that it is not of the kind that its name says.
    """
    kind, _, expected = (checksum or "").partition(":")
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", kind} - {""}}
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            for digest in hashes.values():
                digest.update(piece)
    record = {
        "path": str(path),
        "size": path.stat().st_size,
        "sha256": hashes["sha256"].hexdigest(),
        "checksum": checksum,
        "address": None,
    }
    if (problem := _not_of_its_kind(path, name)) is not None:
        return record, problem
    if checksum is None or hashes[kind].hexdigest() == expected:
        return record, None
    return record, f"expected {kind} {expected}, found {hashes[kind].hexdigest()}"
