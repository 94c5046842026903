"""Snakemake's progress in a terminal: what snakemake-logger-plugin-rich shows, and the jobs.

The plugin counts jobs by rule. This adds below, while they run, each job with its own progress as
its log tells it, the failed ones with their logs, how many are done of all, and about how much
time is left. Snakemake finds it by its name (``--logger dansm``), which the default profile gives
where there is a terminal.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass
from logging import LogRecord
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_rich import LogHandler as RichLogHandler

# A line of tqdm's: `name:  25%|██▌  | 16000/64000 [00:10<00:30, 1600.00images/s]`.
_PROGRESS = re.compile(
    r"(?P<share>\d+)%\|[^|]*\| *(?P<done>\S+)/(?P<all>\S+) "
    r"\[[^<\]]*<(?P<left>[^,\]]*), *(?P<rate>[^,\]]*)"
)
_TAIL_BYTES = 4096


def progress_in(log: Path) -> str:
    """Return the last progress that a log tells: share, amount, rate, time left; else nothing."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            tail = file.read().decode(errors="replace")
    except OSError:
        return ""
    everything = [*_PROGRESS.finditer(tail)]
    if not everything:
        return ""
    found = everything[-1]
    # tqdm's unit stands behind its rate.
    unit = re.sub(r"^[\d.?]+[kMG]?(?:s/)?|/s$", "", found["rate"].strip())
    text = f"{found['share']} %, {found['done']} of {found['all']} {unit}".rstrip()
    return (
        text if "?" in found["rate"] else f"{text}, {found['rate'].strip()}, {found['left']} left"
    )


@dataclass
class _Job:
    rule: str
    subject: str
    logs: list[str]
    started: float

    @property
    def text(self) -> str:
        return f"{self.rule} {self.subject}".rstrip()


class Jobs:
    """The jobs of a call of Snakemake: which run, failed, are done, and how long the rest takes."""

    def __init__(self) -> None:
        self.planned: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.running: dict[int, _Job] = {}
        self.failed: list[_Job] = []
        self.seconds: Counter[str] = Counter()
        self.started = time.monotonic()

    def take(self, record: LogRecord) -> None:
        """Take notice of an event."""
        event, said = getattr(record, "event", None), vars(record)
        if event == LogEvent.RUN_INFO:
            counts = said["stats"]
            self.planned = Counter({rule: counts[rule] for rule in counts if rule != "total"})
        elif event == LogEvent.JOB_INFO:
            subject = " ".join(map(str, (said["wildcards"] or {}).values()))
            logs = [str(log) for log in said["log"] or []]
            self.running[said["jobid"]] = _Job(said["rule_name"], subject, logs, time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            job = self.running.pop(said["job_id"], None)
            if job is not None:
                self.done[job.rule] += 1
                self.seconds[job.rule] += time.monotonic() - job.started
        elif event == LogEvent.JOB_ERROR:
            job = self.running.pop(said["jobid"], None)
            if job is not None:
                self.failed.append(job)

    def seconds_left(self) -> tuple[float, bool] | None:
        """Return about how long the rest takes, and whether every rule of it was seen to finish.

        As long as jobs of the same rule took on average, or of all where none has finished, as many
        at a time as until now.
        """
        count, busy = self.done.total(), self.seconds.total()
        if not count:
            return None
        now = time.monotonic()
        spent = {job.rule: 0.0 for job in self.running.values()}
        for job in self.running.values():
            spent[job.rule] += now - job.started
        work, known = 0.0, True
        for rule, planned in self.planned.items():
            left = planned - self.done[rule] - sum(job.rule == rule for job in self.failed)
            if left > 0:
                known &= self.done[rule] > 0
                each = self.seconds[rule] / self.done[rule] if self.done[rule] else busy / count
                work += max(0.0, left * each - spent.get(rule, 0.0))
        at_a_time = (busy + sum(spent.values())) / max(1e-9, now - self.started)
        return work / max(1.0, at_a_time), known

    def __rich__(self) -> RenderableType:
        """Return the table of running jobs, the failed ones, and the line of totals."""
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for job in self.running.values():
            table.add_row(
                Text(job.text, style="bold"),
                _clock(now - job.started),
                next(filter(None, (progress_in(Path(log)) for log in job.logs)), ""),
            )
        lines = [Text(f"failed: {job.text}, see {_logs(job)}", style="red") for job in self.failed]
        return Group(table, *lines, Text(self.totals()))

    def totals(self) -> str:
        """Return how many jobs are done of all, how many failed, and the time left."""
        text = f"{self.done.total()} of {self.planned.total()} jobs done"
        if self.failed:
            text += f", {len(self.failed)} failed"
        left = self.seconds_left()
        if left is not None and self.running:
            seconds, known = left
            text += f", {'about' if known else 'more or less'} {_clock(seconds)} left"
        return f"{text}; {_clock(time.monotonic() - self.started)} since the start"


def _logs(job: _Job) -> str:
    return ", ".join(job.logs) or "Snakemake's log"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LogHandler(RichLogHandler):
    """The plugin's handler, with the jobs below its bars."""

    def __post_init__(self) -> None:
        """Set the view up."""
        super().__post_init__()
        self.jobs = Jobs()
        bars = self.live_display.get_renderable()
        self.live_display.update(Group(bars, self.jobs))

    def emit(self, record: LogRecord) -> Any:
        """Show an event."""
        try:
            self.jobs.take(record)
        except Exception:  # after which Snakemake's thread would hand on no other event
            self.handleError(record)
        return super().emit(record)

    def close(self) -> None:
        """End the view, and say what failed."""
        super().close()
        jobs, self.jobs.failed = self.jobs.failed, []
        for job in jobs:
            self.console.print(Text(f"failed: {job.text}, see {_logs(job)}", style="red"))
