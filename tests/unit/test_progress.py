"""The live view of Snakemake's jobs, told by events as Snakemake sends them."""

import io
import logging
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_dansm as view
from snakemake_logger_plugin_dansm import Jobs, LogHandler, progress_in

TQDM = "vanilla:   0%|   | 0/64000 [00:00<?, ?images/s]\r"
TQDM += "vanilla:  25%|██▌  | 16000/64000 [00:10<00:30, 1600.00images/s]"


@pytest.fixture
def clock(monkeypatch):
    """A time that tests set."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(view.time, "monotonic", lambda: now.seconds)
    return now


def event(kind, **said):
    record = logging.makeLogRecord({"msg": "", "levelno": logging.INFO, "event": kind})
    vars(record).update(said)
    return record


def started(number, rule="train_model", log="none.log", **wildcards):
    said = {"wildcards": wildcards, "log": [log], "rule_msg": None, "reason": "", "shellcmd": None}
    lists = {"input": [], "output": [], "resources": {}, "benchmark": None, "priority": 0}
    said |= lists | {"threads": 1, "local": True, "is_checkpoint": False, "indent": False}
    return event(LogEvent.JOB_INFO, jobid=number, rule_name=rule, **said)


def planned(**counts):
    return event(LogEvent.RUN_INFO, stats={**counts, "total": sum(counts.values())})


def finished(number):
    return event(LogEvent.JOB_FINISHED, job_id=number)


def drawn(what):
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(what)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (TQDM, "25 %, 16000 of 64000 images, 1600.00images/s, 00:30 left"),
        (TQDM + "\r" + TQDM.replace("25%", "50%"), "50 %, 16000 of 64000"),
        ("x" * 9000 + TQDM, "25 %, 16000 of 64000"),
        ("x:   0%|   | 0/8 [00:00<?, ?images/s]", "0 %, 0 of 8 images"),
        ("x: 12%|█   | 1/8 [00:09<01:03, 9.00s/steps]", "12 %, 1 of 8 steps, 9.00s"),
        ("nothing to tell", ""),
    ],
)  # fmt: skip
def test_a_jobs_progress_is_the_last_that_its_log_tells(tmp_path, log, expected):
    (tmp_path / "job.log").write_text(log)
    assert progress_in(tmp_path / "job.log").startswith(expected)
    assert (progress_in(tmp_path / "job.log") == "") == (expected == "")
    assert progress_in(tmp_path / "none.log") == ""


def test_running_failed_and_done_jobs_are_shown_with_the_time_left(clock, tmp_path):
    log = tmp_path / "job.log"
    log.write_text(TQDM)
    jobs = Jobs()
    jobs.take(planned(train_model=4, evaluate_run=2, all=0))
    jobs.take(started(1, dataset="digits", run="vanilla", seed=0))
    clock.seconds += 40
    jobs.take(finished(1))
    jobs.take(started(2, log=str(log), dataset="digits", run="vanilla", seed=1))
    jobs.take(started(3, "evaluate_run", dataset="digits"))
    jobs.take(event(LogEvent.JOB_ERROR, jobid=3))
    clock.seconds += 10
    # Three trainings of 40 s, 10 s of them spent, and an evaluation that takes nobody knows how
    # long; one at a time.
    seconds, known = jobs.seconds_left()
    assert seconds == pytest.approx(3 * 40 - 10 + 40) and not known
    text = drawn(jobs)
    assert "train_model digits vanilla 1  0:10  25 %, 16000 of 64000 images, 1600.00im" in text
    assert "failed: evaluate_run digits, see none.log" in text
    assert "1 of 6 jobs done, 1 failed, more or less 2:30 left; 0:50 since the start" in text


def test_as_many_jobs_at_a_time_as_until_now_are_expected(clock):
    jobs = Jobs()
    jobs.take(planned(train_model=6))
    assert jobs.seconds_left() is None
    for number in (1, 2):
        jobs.take(started(number))
    clock.seconds += 30
    for number in (1, 2):
        jobs.take(finished(number))
    assert jobs.seconds_left() == (pytest.approx(4 * 30 / 2), True)


def test_the_handler_shows_the_jobs_below_the_plugins_bars(tmp_path):
    settings = {"dryrun": False, "printshellcmds": False, "show_failed_logs": True}
    settings |= {"verbose": False, "stdout": False, "nocolor": False, "quiet": None}
    handler = LogHandler(SimpleNamespace(**settings, debug_dag=False), None)
    handler.console.file = io.StringIO()
    log = tmp_path / "job.log"
    log.write_text("error: no such file")
    try:
        handler.emit(planned(train_model=2))
        handler.emit(started(1, log=str(log), dataset="digits"))
        shown = drawn(handler.live_display.get_renderable())
        assert "train model" in shown and "train_model digits" in shown
        assert "0 of 2 jobs done" in shown
        handler.emit(event(LogEvent.JOB_ERROR, jobid=1))
    finally:
        handler.close()
    text = handler.console.file.getvalue()
    assert "error: no such file" in text
    assert f"failed: train_model digits, see {log}" in text.replace("\n", "")
