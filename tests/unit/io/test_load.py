"""What other processes do while something is timed."""

import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from dansm.io.load import OthersLoad, doubt


class Process:
    """A process, with children, whose processor time is told."""

    def __init__(self, used, children=()):
        self.used, self.below = used, children

    def cpu_times(self):
        if self.used is None:
            raise psutil.NoSuchProcess(1)
        return (self.used, 0.5, 0.25, 0.0)

    def children(self, recursive):
        assert recursive
        return self.below

    def parent(self):
        return Process(30.0, [self])


@pytest.mark.parametrize(("parent", "others"), [(False, 7.0), (True, 7.0)])
def test_others_are_all_but_this_process_and_its_children(monkeypatch, parent, others):
    me = Process(10.0, [Process(5.0), Process(None)])
    total = {"user": 100.0, "system": 20.0, "idle": 1e6, "iowait": 1e6, "steal": 1.0}
    now = [0.0]
    monkeypatch.setattr(psutil, "Process", lambda: me)
    times = type("Times", (), {"_asdict": lambda self: dict(total)})
    monkeypatch.setattr(psutil, "cpu_times", times)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    load = OthersLoad(parent=parent)
    now[0] = 14.0
    me.used += 4.0
    total["user"] += 4.0 + 5.0  # ours, and others'
    total["steal"] += 2.0
    total["idle"] += 100.0
    assert load.core_seconds() == pytest.approx(others)
    assert load.cores() == pytest.approx(others / 14)


def test_work_of_our_own_is_not_that_of_others():
    load, before = OthersLoad(), psutil.cpu_times()
    started = time.perf_counter()
    while time.perf_counter() - started < 0.3:
        pass
    loop = "import time; end = time.perf_counter() + 0.3\nwhile time.perf_counter() < end: pass"
    subprocess.run([sys.executable, "-c", loop], check=True)
    found, after = load.core_seconds(), psutil.cpu_times()
    everything = sum(
        getattr(after, name) - getattr(before, name) for name in ("user", "system", "nice")
    )
    assert found <= everything - 0.2


@pytest.mark.parametrize(
    ("busy", "why"),
    [
        ([], None),
        ([0.0, 0.1], None),
        ([0.0, 0.75], "other processes kept up to 0.8 cores busy meanwhile"),
        ([0.0, np.nan], "what else the machine did was not recorded"),
    ],
)
def test_times_are_doubted_where_others_were_busy_or_nobody_looked(busy, why):
    assert doubt(busy) == why
