"""Jobs, as they are read from Snakemake's output."""

import pytest

from dansm.errors import InputError
from dansm.workflow.dry_run import Job, parse_jobs

OUTPUT = """host: here
Building DAG of jobs...
Job stats:
job              count
-------------  -------
all                  1
build_dataset        1
train_model          2
total                4


[Sat Nov 21 00:54:37 2026]
rule build_dataset:
    output: results/data/digits
    log: results/logs/build_dataset/digits.log
    jobid: 4
    reason: Missing output files: results/data/digits
    wildcards: dataset=digits
    resources: tmpdir=/tmp, runtime=720, gpu=0, mem_mb=4000
[Sat Nov 21 00:54:37 2026]
rule train_model:
    input: results/data/digits
    wildcards: dataset=digits, run=vanilla, seed=3
    priority: 1
    threads: 8
    resources: tmpdir=/tmp, gpu=2, mem_mb=32000
[Sat Nov 21 00:54:37 2026]
rule train_model:
    wildcards: dataset=digits, run=vanilla, seed=4
    threads: 8
    resources: tmpdir=/tmp, gres=gpu:a100:3, mem_mb=32000
[Sat Nov 21 00:54:37 2026]
localrule all:
    input: results/fid_digits.csv
    jobid: 0
    resources: tmpdir=/tmp
Job stats:
job              count
-------------  -------
all                  1
build_dataset        1
train_model          2
total                4
"""


def test_jobs_are_read_from_a_dry_run():
    run = {"dataset": "digits", "run": "vanilla"}
    assert parse_jobs(OUTPUT) == [
        Job("build_dataset", {"dataset": "digits"}, 1, 0),
        Job("train_model", {**run, "seed": "3"}, 8, 2),
        Job("train_model", {**run, "seed": "4"}, 8, 3),
        Job("all", {}, 1, 0),
    ]


def test_nothing_to_do_is_no_job():
    assert parse_jobs("Building DAG of jobs...\nNothing to be done (all requested files …).") == []


def test_a_dry_run_that_is_not_understood_is_refused():
    with pytest.raises(InputError, match=r"expected \{.*'train_model': 2\}, found"):
        parse_jobs(OUTPUT.replace("\nrule train_model:", "\nthe rule train_model:"))
