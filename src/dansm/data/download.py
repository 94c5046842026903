"""Downloads that go on after an interruption and are checked before they get their name."""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from dansm.errors import InputError
from dansm.io.files import check_free_space, locked, publish_partial

_CHUNK_BYTES = 1024 * 1024
_TIMEOUT = (30, 60)  # s, to connect and between two pieces
_LONGEST_PAUSE = 60.0  # s
_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}


class _TryAgainError(Exception):
    """Another attempt at the address may bring more."""


class _RefusedError(Exception):
    """Another attempt at the address is of no use, it will not give the file."""


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
    reasons = []
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
    record, problem = _examined(path, checksum)
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
    if Path(unpacked).exists():
        return {"path": str(unpacked)}
    if not path.exists():
        return download(path, addresses, checksum)
    record, problem = _examined(path, checksum)
    if problem:
        print(f"{path}: {problem}; taken as it is, for it was there", flush=True)
    return record | {"checksum": None if problem else checksum}


class _Partial:
    """The beginning of a file that is being downloaded from an address."""

    def __init__(self, path: Path, address: str, checksum: str | None) -> None:
        self.path, self.address, self.checksum = path, address, checksum
        self.partial = path.with_name(f".{path.name}.partial")
        self.note = path.with_name(f".{path.name}.partial.json")
        # What the bytes are the beginning of: address, size of the whole and version.
        self.origin: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # none yet, or its writing was interrupted
            self.origin = json.loads(self.note.read_text(encoding="utf-8"))
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
        record, problem = _examined(self.partial, self.checksum)
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
                raise InputError(
                    f"{self.path}: the download stopped after {self.size} bytes; {error.strerror}"
                ) from error
        if stream.size is not None and self.size != stream.size:
            raise _TryAgainError(f"cut off after {self.size} of {stream.size} bytes")

    @contextmanager
    def _opened(self) -> Iterator[_Stream]:
        if self.address.startswith("file:"):
            source = Path(unquote(urlsplit(self.address).path))
            if not source.is_file():
                raise _RefusedError("no such file")
            with open(source, "rb") as file:
                pieces = iter(lambda: file.read(_CHUNK_BYTES), b"")
                yield _Stream(pieces, 0, source.stat().st_size, None)
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
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
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
            length = response.headers.get("Content-Length")
            return _Stream(pieces, 0, None if length is None else int(length), version)
        given = response.headers.get("Content-Range", "")
        parts = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", given)
        size = None if parts is None or parts[2] == "*" else int(parts[2])
        if parts is None or int(parts[1]) != self.size or size != self.origin["size"]:
            expected = f"bytes {self.size}- of {self.origin['size']}"
            self.discard()
            raise _TryAgainError(f"expected {expected}, found {given!r}, starting over")
        return _Stream(pieces, self.size, size, version)


def _examined(path: Path, checksum: str | None) -> tuple[dict[str, Any], str | None]:
    """Return the record of a file, read once, and how it differs from its checksum, if it does."""
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
    if checksum is None or hashes[kind].hexdigest() == expected:
        return record, None
    return record, f"expected {kind} {expected}, found {hashes[kind].hexdigest()}"
