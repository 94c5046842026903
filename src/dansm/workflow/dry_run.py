"""Jobs that Snakemake would run."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dansm.errors import InputError


class Job(NamedTuple):
    """One job that Snakemake would run."""

    rule: str
    wildcards: dict[str, str]
    threads: int
    gpus: int


def planned_jobs(
    targets: Sequence[str], scale: str | None = None, configfiles: Sequence[Path] = ()
) -> list[Job]:
    """Ask Snakemake which jobs the targets still need.

    Parameters
    ----------
    scale
        One of the configuration's scales.
    configfiles
        Configuration beside ``config/config.yaml``.

    Raises
    ------
    InputError
        If Snakemake refuses the targets, or its output is not understood.
    """
    settings = ["--config", f"scale={scale}"] if scale else []
    settings += ["--configfile", *map(str, configfiles)] if configfiles else []
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--quiet", "host"]
    # So many cores that no rule's threads are cut down to this machine's.
    command += ["--cores", "1000", *settings, "--", *targets]
    form = {"encoding": "utf-8", "errors": "backslashreplace"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **form)
    if done.returncode != 0:
        raise InputError(
            f"snakemake --dry-run {' '.join(targets)}: expected a list of jobs, found\n"
            f"{done.stdout.strip()[-2000:]}"
        )
    return parse_jobs(done.stdout)


def parse_jobs(output: str) -> list[Job]:
    """Read the jobs from the output of a dry run.

    Raises
    ------
    InputError
        If they are not those that the output's own table counts.
    """
    jobs = []
    for block in re.split(r"^(?:local)?rule ", output, flags=re.MULTILINE)[1:]:
        rule, _, rest = block.partition(":")
        fields = dict(re.findall(r"^    (\w+): (.*)$", rest, flags=re.MULTILINE))
        wildcards = dict(re.findall(r"(\w+)=([^,]*)", fields.get("wildcards", "")))
        gpus = re.search(r"\bgpu=(\d+)|\bgres=gpu:(?:[^:,]+:)?(\d+)", fields.get("resources", ""))
        count = int(gpus[1] or gpus[2]) if gpus else 0
        jobs.append(Job(rule, wildcards, int(fields.get("threads", 1)), count))
    counted: dict[str, int] = {}
    if "Job stats:" in output:
        lines = output.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        counted = {rule: int(count) for rule, count in (line.split() for line in lines)}
        del counted["total"]
    found = dict(Counter(job.rule for job in jobs))
    if found != counted:
        raise InputError(f"snakemake's list of jobs: expected {counted}, found {found}")
    return jobs
