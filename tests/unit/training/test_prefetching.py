"""Prefetching: the source's pairs in their order, bounded, still while paused, errors in place."""

import threading
import time

import pytest
import torch

from dansm.couplings import Batch, Pairs, make_coupling
from dansm.training import prefetching
from dansm.training.prefetching import Prefetcher

CPU = torch.device("cpu")


def numbered(count):
    for k in range(count):
        yield Pairs(torch.full((2, 3), float(k)), torch.zeros(2, 3), {"row": torch.tensor([k, k])})


def wait_until(condition):
    patience = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < patience
        time.sleep(0.001)


def test_pairs_are_those_of_the_coupling():
    samples = torch.randn(20, 8, 3, generator=torch.Generator().manual_seed(0))
    batches = [Batch(batch, {"label": torch.arange(8)}) for batch in samples]
    expected = list(make_coupling("greedy", match_size=30, seed=1).pairs(batches))
    source = make_coupling("greedy", match_size=30, seed=1).pairs(batches)
    with Prefetcher(source, CPU) as prefetcher:
        made = list(prefetcher)
    assert len(made) == 20
    for found, pairs in zip(made, expected, strict=True):
        assert torch.equal(found.pairs.samples, pairs.samples)
        assert torch.equal(found.pairs.noise, pairs.noise)
        assert torch.equal(found.pairs.extras["label"], torch.arange(8))
        assert found.seconds > 0


@pytest.mark.parametrize(("batches", "limit"), [(4, 4), (1000, 2)], ids=["batches", "bytes"])
def test_no_more_wait_than_allowed(batches, limit, monkeypatch):
    monkeypatch.setattr(prefetching, "_BATCHES", batches)
    monkeypatch.setattr(prefetching, "_BYTES", 2 * 2 * 2 * 3 * 4)  # two batches of samples, noise
    made = []

    def source():
        for pairs in numbered(50):
            made.append(pairs)
            yield pairs

    if batches == 4:
        monkeypatch.setattr(prefetching, "_BYTES", 2**20)
    with Prefetcher(source(), CPU) as prefetcher:
        for taken in range(1, 20):
            next(prefetcher)
            wait_until(lambda taken=taken: len(made) == taken + limit)
            time.sleep(0.002)
            assert len(made) == taken + limit


def test_pausing_gives_what_waits_and_stops_the_source():
    moving = []

    def source():
        for pairs in numbered(1000):
            moving.append(pairs)
            yield pairs

    with Prefetcher(source(), CPU) as prefetcher:
        first = next(prefetcher).pairs
        wait_until(lambda: len(moving) > 5)
        with prefetcher.paused() as ahead:
            count = len(moving)
            time.sleep(0.02)
            assert len(moving) == count == 1 + len(ahead)
            places = [int(pairs.samples[0, 0]) for pairs in [first, *ahead]]
        assert places == list(range(count))
        rest = Prefetcher(numbered(0), CPU, ahead)
        with rest:
            assert [int(made.pairs.samples[0, 0]) for made in rest] == places[1:]


def test_an_error_comes_in_its_place_and_again():
    def source():
        yield from numbered(3)
        raise ValueError("samples: found NaN")

    with Prefetcher(source(), CPU) as prefetcher:
        for _ in range(3):
            next(prefetcher)
        for _ in range(2):
            with pytest.raises(ValueError, match="found NaN"):
                next(prefetcher)


def test_the_thread_ends_with_the_block():
    before = threading.active_count()
    with Prefetcher(numbered(1000), CPU):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
