"""Matching ahead of training: pairs depend on no weights, so a thread makes them beforehand."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, Self

import torch

from dansm.couplings import Pairs

_BATCHES = 32  # wait at most
_BYTES = 2**27  # of them wait at most, or one batch if it is larger


class Prefetched(NamedTuple):
    """Pairs, and the seconds that making them took."""

    pairs: Pairs
    seconds: float


class Prefetcher:
    """An iterator over the pairs of another one, kept ahead of its reader by a thread.

    Pairs and order are the source's. At most 32 batches or 128 MiB wait, whichever is less. The
    thread stops with the ``with`` block. On a GPU it works on a stream of its own: matching
    synchronises often, and on the training's stream each time would wait for a whole step.

    Parameters
    ----------
    source
        Iterator over pairs, for example ``coupling.pairs(batches)``. Only the thread advances it.
    device
        Where pairs are handed out.
    ahead
        Pairs handed out before the source's: those that `paused` gave when a state was saved.
    """

    def __init__(
        self, source: Iterator[Pairs], device: torch.device, ahead: Iterable[Pairs] = ()
    ) -> None:
        self._source = source
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._made: deque[Prefetched | BaseException] = deque()
        self._changed = threading.Condition()  # guards all that follows and what was made
        self._limit = 1
        self._working = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="matching", daemon=True)
        for pairs in ahead:
            self._made.append(Prefetched(self._moved(pairs), 0.0))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def __iter__(self) -> Iterator[Prefetched]:
        return self

    def __next__(self) -> Prefetched:
        """Return the next pairs; what the source raises is raised in its place."""
        with self._changed:
            self._changed.wait_for(lambda: self._made)
            if isinstance(self._made[0], BaseException):
                raise self._made[0]
            made = self._made.popleft()
            self._changed.notify_all()
        if self._stream is not None:
            # So that the allocator does not reuse the memory while training still reads it.
            for rows in (made.pairs.samples, made.pairs.noise, *made.pairs.extras.values()):
                rows.record_stream(torch.cuda.current_stream(self._device))
        return made

    @contextmanager
    def paused(self) -> Iterator[list[Pairs]]:
        """Keep the source still, and give the pairs that it has made and nobody has taken."""
        with self._changed:
            self._changed.wait_for(lambda: not self._working)
            yield [made.pairs for made in self._made if isinstance(made, Prefetched)]

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._made) < self._limit)
                if self._closed:
                    return
                self._working = True
            started = time.perf_counter()
            made: Prefetched | BaseException
            try:
                pairs = self._make()
                made = Prefetched(pairs, time.perf_counter() - started)
                size = pairs.samples.nbytes + pairs.noise.nbytes
            except BaseException as error:  # of whatever kind, it belongs to the reader
                made, size = error, 0
            with self._changed:
                self._working = False
                self._made.append(made)
                self._limit = max(1, min(_BATCHES, _BYTES // max(size, 1)))
                self._changed.notify_all()
            if isinstance(made, BaseException):
                return

    def _make(self) -> Pairs:
        with torch.cuda.stream(self._stream):  # nothing where there is none
            pairs = self._moved(next(self._source))
            if self._stream is not None:
                self._stream.synchronize()
        return pairs

    def _moved(self, pairs: Pairs) -> Pairs:
        extras = {key: rows.to(self._device) for key, rows in pairs.extras.items()}
        return Pairs(pairs.samples.to(self._device), pairs.noise.to(self._device), extras)
