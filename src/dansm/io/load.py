"""How busy other processes keep a machine while something is timed."""

import math
import time

import psutil

# Cores that others may keep busy beside what is timed: those of the system itself.
QUIET = 0.1


class OthersLoad:
    """Counts the processor time of all processes but our own, from its making on.

    Parameters
    ----------
    parent
        Whether this is one of several processes of a parent, which are all our own.
    """

    def __init__(self, parent: bool = False) -> None:
        self._own = psutil.Process().parent() if parent else psutil.Process()
        self._started, self._before = time.perf_counter(), self._others()

    def core_seconds(self) -> float:
        """Return the time that others have used so far, in seconds of one core."""
        return max(0.0, self._others() - self._before)

    def cores(self) -> float:
        """Return how many cores others have kept busy, on average."""
        return self.core_seconds() / max(time.perf_counter() - self._started, 1e-9)

    def _others(self) -> float:
        # What a hypervisor gave to other machines counts, time spent waiting for disks does not.
        times = psutil.cpu_times()._asdict()
        names = ("user", "nice", "system", "irq", "softirq", "steal")
        return sum(times.get(name, 0.0) for name in names) - self._ours()

    def _ours(self) -> float:
        used = 0.0
        for process in (self._own, *self._own.children(recursive=True)):
            try:
                # Children that have ended and were waited for are in their parent's times.
                times = process.cpu_times()
                used += sum(times[:4])
            except psutil.Error:  # it ended meanwhile
                continue
        return used


def doubt(busy: list[float]) -> str | None:
    """Return why times measured under such loads of others cannot be relied on, if they cannot.

    Parameters
    ----------
    busy
        Cores that others kept busy; NaN where that is not known.
    """
    if any(math.isnan(cores) for cores in busy):
        return "what else the machine did was not recorded"
    if max(busy, default=0.0) > QUIET:
        return f"other processes kept up to {max(busy):.1f} cores busy meanwhile"
    return None
