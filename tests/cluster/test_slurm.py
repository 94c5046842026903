"""The workflow on a real Slurm: jobs are cancelled, requeued, run out of time, or fail."""

import math
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from dansm.config import parse_config
from dansm.data.store import open_store
from dansm.io.files import read_json, sha256
from dansm.io.tables import COMPARISON_COLUMNS, read_table
from dansm.training.trainer import train

from ..workflow.conftest import Project
from .slurm import Slurm, wait_until

SMOKE = ("--config", "scale=smoke")
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "5")
STEPS, BATCH = 40, 32
# After these steps the training of a run waits for a request to stop, once. Meanwhile its log has
# this name too, which it keeps: the job's next part begins another log.
HELD = """
import os
import signal
import time
from dansm.training.trainer import Trainer

def advance_and_wait(self, *arguments, advance=Trainer.advance):
    advance(self, *arguments)
    run = snakemake.wildcards.run
    log = Path(f"{run}-held-at-{self.step}.log")
    if self.step not in {"vanilla": (10, 20), "dansm_100": (10,)}[run]:
        return
    if not log.exists():
        told = []
        before = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *event: (told.append(event), before(*event)))
        log.hardlink_to(snakemake.log[0])
        while not told:
            time.sleep(0.1)

Trainer.advance = advance_and_wait
with job(snakemake):
"""
RUNS = "results/smoke/runs/digits"
LOGS = "results/smoke/logs/train_model/digits"
CANCELLED, TIMED_OUT, BOTH_GPUS = "vanilla/seed0", "dansm_100/seed0", "dansm_1000/seed0"


class ClusterProject(Project):
    """A small project whose Snakemake finds the cluster."""

    def __init__(self, folder: Path, cluster: Slurm) -> None:
        super().__init__(folder)
        self.cluster = cluster
        content = yaml.safe_load(self.config.read_text())
        recipe = content["recipes"]["digits_flow"]
        recipe["hardware"] = {"threads": 1, "mem_mb": 1500, "runtime": 30, "gpu": 1}
        content["recipes"] = {
            "one_gpu": recipe,
            "two_gpus": {**recipe, "hardware": {**recipe["hardware"], "threads": 2, "gpu": 2}},
        }
        entry = {"dataset": "digits", "process": "rectified_flow", "seeds": [0]}
        grid = {"vanilla": None, "dansm_100": {"coupling": {"greedy": {"match_size": 100}}}}
        content["runs"] = [{**entry, "recipe": "one_gpu", "grid": grid}]
        content["coupling_marginals"]["comparison"] = "digits"
        content |= {"comparisons": {}, "noise_sample_pairs": {}, "claims": []}
        content |= {"targets": {"demo": ["digits"]}, "report": ["digits"]}
        content["scales"]["smoke"] |= {"batches": STEPS, "batch_size": BATCH}
        self.write(content)

    def content(self) -> dict:
        return yaml.safe_load(self.config.read_text())

    def write(self, content: dict) -> None:
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))

    def environment(self) -> dict[str, str]:
        return super().environment() | self.cluster.environment | {"OMP_NUM_THREADS": "1"}

    def text(self, path: str) -> str:
        file = self.folder / path
        return file.read_text() if file.exists() else ""

    def job(self, run: str) -> dict[str, str]:
        """Return the last training job of a run."""
        comment = f"rule_train_model_wildcards_digits_{run}_0"
        return [job for job in self.cluster.jobs() if job["Comment"].startswith(comment)][-1]

    def weights_of_an_uninterrupted_run(self, run: str) -> str:
        """Return the checksum of the model, trained here and in one go."""
        config = parse_config({**self.content(), "scale": "smoke"})
        folder = self.folder / "uninterrupted" / run
        with one_thread():
            train(
                config.run_settings(config.run("digits", run), 0),
                open_store(self.folder / "results" / "smoke" / "data" / "digits"),
                folder,
            )
        return sha256(folder / "model.safetensors")


@contextmanager
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prepared(cluster, tmp_path_factory) -> ClusterProject:
    """A project that already has the dataset and its reference features."""
    project = ClusterProject(tmp_path_factory.mktemp("slurm") / "project", cluster)
    project.succeeds("results/smoke/features/digits/held_out.csv", *SMOKE)
    return project


class Done:
    """A table made on the cluster, although jobs were cancelled, requeued and ran out of time."""

    def __init__(self, project: ClusterProject) -> None:
        self.project = project
        script = project.folder / "workflow" / "scripts" / "train_model.py"
        script.write_text(script.read_text().replace("\nwith job(snakemake):\n", HELD))
        with open(project.folder / "output", "w") as output:
            self.process = subprocess.Popen(
                project.command(*SLURM, "results/smoke/distances_digits.csv", *SMOKE),
                cwd=project.folder,
                env=project.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.held("vanilla", 10)  # so that nothing is waited for under the limit
            self.limited = self.limit()
            self.cancelled = self.interrupt(10, "scancel")
            self.lift_the_limit()
            self.requeued = self.interrupt(20, "scontrol", "requeue")
            self.wait_until(lambda: self.process.poll() is not None, "an end")
        finally:
            self.process.kill()
            self.process.wait()
        self.output = project.text("output")
        assert self.process.returncode == 0, self.output[-6000:]
        self.jobs = project.cluster.jobs()

    def wait_until(self, done, what: str) -> None:
        def is_done() -> bool:
            assert self.process.poll() in (None, 0), self.project.text("output")[-6000:]
            return done()

        wait_until(is_done, what)

    def held(self, run: str, step: int) -> dict[str, str]:
        """Return the job in which training waits after a step."""
        log = self.project.folder / held_log(run, step)
        self.wait_until(log.exists, f"training of {run} at step {step}")
        return self.project.job(run)

    def limit(self) -> dict[str, str]:
        """Bring the wall time of the one job near, while it trains."""
        job = self.held("dansm_100", 10)
        hours, minutes, seconds = map(int, job["RunTime"].split(":"))
        # Slurm looks every 30 s whether to send the signal, 120 s before the end at the latest.
        limit = math.ceil((3600 * hours + 60 * minutes + seconds + 100) / 60)
        self.project.cluster.command(
            "scontrol", "update", f"JobId={job['JobId']}", f"TimeLimit={limit}"
        )
        return job

    def lift_the_limit(self) -> None:
        """Give that job time again, once it went back into the queue."""
        self.wait_until(
            lambda: "goes back into the queue" in self.project.text(held_log("dansm_100", 10)),
            "a job that requeues itself",
        )
        self.project.cluster.command(
            "scontrol", "update", f"JobId={self.limited['JobId']}", "TimeLimit=30"
        )

    def interrupt(self, step: int, *command: str) -> dict[str, str]:
        """Interrupt the other job while it trains."""
        job = self.held("vanilla", step)
        self.project.cluster.command(*command, job["JobId"])
        return job


def held_log(run: str, step: int) -> str:
    return f"{run}-held-at-{step}.log"


@pytest.fixture(scope="module")
def done(prepared) -> Done:
    return Done(prepared)


def test_the_table_is_made_by_jobs_with_the_gpus_they_asked_for(done):
    table = read_table(
        done.project.folder / "results" / "smoke" / "distances_digits.csv", COMPARISON_COLUMNS
    )
    assert set(table["match_size"].dropna()) == {0, 100}
    jobs = {}
    for job in done.jobs:
        rule = re.match(r"rule_([a-z_]+?)(_wildcards|$)", job["Comment"])[1]
        jobs.setdefault(rule, []).append(job)
    assert set(jobs) == {"train_model", "evaluate_run", "collect_distances"}
    for job in (*jobs["train_model"], *jobs["evaluate_run"]):
        assert job["TresPerJob"] == "gres:gpu:1"
    assert "TresPerJob" not in jobs["collect_distances"][0]
    # Both were training at once, each with a GPU of its own.
    logs = [done.project.text(held_log(run, 10)) for run in ("vanilla", "dansm_100")]
    gpus = [re.findall(r"^GPU (.*)$", log, re.M) for log in logs]
    assert sorted(gpus) == [["0"], ["1"]]


def continued_from(log: str) -> int:
    return int(re.search(r"continuing after (\d+) images", log)[1])


def test_a_job_that_is_cancelled_and_one_that_is_requeued_continue(done):
    for step, job in ((10, done.cancelled), (20, done.requeued)):
        log = done.project.text(held_log("vanilla", step))
        assert f"stopped by request after {step * BATCH} images; the state is saved" in log
        # Slurm does what is to be done; the job does not requeue itself.
        assert re.search(rf"Slurm job {job['JobId']} is [A-Z]+: not requeued", log)
    assert continued_from(log) == 10 * BATCH
    assert continued_from(done.project.text(f"{LOGS}/{CANCELLED}.log")) == 20 * BATCH
    jobs = [job for job in done.jobs if "train_model" in job["Comment"]]
    ends = [(job["JobState"], job["Restarts"]) for job in jobs if "_vanilla_" in job["Comment"]]
    assert ends == [("CANCELLED", "0"), ("COMPLETED", "1")]
    model = done.project.folder / RUNS / CANCELLED / "model.safetensors"
    assert sha256(model) == done.project.weights_of_an_uninterrupted_run("vanilla")


def test_a_job_at_its_wall_time_requeues_itself_and_continues(done):
    log = done.project.text(held_log("dansm_100", 10))
    assert f"stopped by request after {10 * BATCH} images; the state is saved" in log
    # A busy machine may let more than one part run out of time.
    assert continued_from(done.project.text(f"{LOGS}/{TIMED_OUT}.log")) >= 10 * BATCH
    (job,) = [job for job in done.jobs if job["JobId"] == done.limited["JobId"]]
    assert job["JobState"] == "COMPLETED" and int(job["Restarts"]) >= 1
    model = done.project.folder / RUNS / TIMED_OUT / "model.safetensors"
    assert sha256(model) == done.project.weights_of_an_uninterrupted_run("dansm_100")


class GresProject(ClusterProject):
    """Another project, on a cluster that is asked for GPUs as gres.

    One run trains with two GPUs; another has a state that cannot be read.
    """

    def __init__(self, folder: Path, prepared: ClusterProject) -> None:
        super().__init__(folder, prepared.cluster)
        # The store, and the record of the job that made it, without which it is refused.
        for part in ("data", "jobs/build_dataset"):
            place = Path("results") / "smoke" / part
            shutil.copytree(prepared.folder / place, folder / place)
        content = self.content()
        content["cluster"] = {"gpu_request": "gres"}
        two = {**content["runs"][0], "recipe": "two_gpus"}
        two["grid"] = {"dansm_1000": {"coupling": {"greedy": {"match_size": 1000}}}}
        content["runs"].append(two)
        content["comparisons"] = {"digits": {"unequal": ["recipe"]}}
        self.write(content)
        state = folder / RUNS / CANCELLED / "training" / "state.pt"
        state.parent.mkdir(parents=True)
        state.write_bytes(b"spoilt")
        targets = [f"{RUNS}/{run}/run.json" for run in (BOTH_GPUS, CANCELLED)]
        self.output = self.fails(*SLURM, *targets, *SMOKE, "--retries", "0")


@pytest.fixture(scope="module")
def gres(prepared, tmp_path_factory) -> GresProject:
    return GresProject(tmp_path_factory.mktemp("gres") / "project", prepared)


def test_two_gpus_train_together(gres):
    assert gres.job("dansm_1000")["TresPerNode"] == "gres:gpu:2"
    assert "GPU 0,1\n" in gres.text(f"{LOGS}/{BOTH_GPUS}.log")
    run = read_json(gres.folder / RUNS / BOTH_GPUS / "run.json")
    assert run["processes"] == 2
    assert run["snapshots"][-1]["images_seen"] == STEPS * BATCH


def test_a_job_that_fails_shows_its_log(gres):
    job = gres.job("vanilla")
    assert job["JobState"] == "FAILED"
    assert f"{LOGS}/{CANCELLED}.log" in gres.output
    assert "state.pt: expected a training state, found one that was changed or cut" in gres.output
    assert job["StdOut"] in gres.output
    assert f"{LOGS}/{CANCELLED}.log" in Path(job["StdOut"]).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--default-resources", "slurm_partition=nowhere"),
            "invalid partition .*: nowhere",
        ),
        (
            ("--default-resources", "slurm_partition=without_gpus"),
            "(?s)Requested node configuration is not available.*-p without_gpus.*--gres=gpu:1",
        ),
        (
            ("--set-resources", "train_model:gres=gpu:h100:1"),
            "(?s)Requested node configuration is not available.*--gres=gpu:h100:1",
        ),
        (
            ("--set-resources", "train_model:gres=gpu:3"),
            "(?s)Requested node configuration is not available.*--gres=gpu:3",
        ),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_at_once(gres, options, message):
    target = f"{RUNS}/{TIMED_OUT}/run.json"
    output = gres.fails(*SLURM, target, *SMOKE, "--retries", "0", *options)
    assert re.search(message, output), output[-3000:]
