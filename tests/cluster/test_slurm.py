"""The workflow on a real Slurm, with jobs that are cancelled, run out of time, or fail."""

import math
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from dansm.config import parse_config
from dansm.data.store import open_store
from dansm.evaluation.table import read_table
from dansm.files import read_json, sha256
from dansm.training import train

from ..workflow.conftest import Project
from .slurm import Slurm

SMOKE = ("--config", "scale=smoke")
SLURM = ("--profile", "slurm", "--slurm-init-seconds-before-status-checks", "5")
STEPS = 60
# Each run's training waits at every step for as long as a file is there.
SLOWED = """
import time
from dansm.training import Trainer

def advance_slowly(self, *arguments, advance=Trainer.advance):
    if Path(f"slow-{self.settings.coupling}").exists():
        time.sleep(1)
    advance(self, *arguments)

Trainer.advance = advance_slowly
with job(snakemake):
"""
RUNS = "results/smoke/runs/digits/rectified_flow"
LOGS = "results/smoke/logs/train_model/digits/rectified_flow"
CANCELLED, TIMED_OUT, BOTH_GPUS = "independent-0/seed0", "greedy-100/seed0", "greedy-1000/seed0"


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
        row = {"dataset": "digits", "process": "rectified_flow", "seeds": [0], "recipe": "one_gpu"}
        content["experiments"] = [
            {**row, "coupling": "independent", "match_size": 0},
            {**row, "coupling": "greedy", "match_size": 100},
        ]
        content["demo"] = ["digits"]
        content["demo_couplings"] = ["digits"]
        content["coupling_ablations"] = {
            "digits": {
                "dataset": "digits",
                "process": row["process"],
                "recipe": row["recipe"],
                "seeds": row["seeds"],
                "methods": [{"coupling": "independent"}],
            }
        }
        content["scales"]["smoke"]["batches"] = STEPS
        self.write(content)

    def content(self) -> dict:
        return yaml.safe_load(self.config.read_text())

    def write(self, content: dict) -> None:
        self.config.write_text(yaml.safe_dump(content, sort_keys=False))

    def environment(self) -> dict[str, str]:
        return super().environment() | self.cluster.environment | {"OMP_NUM_THREADS": "1"}

    def wait_until(self, done, process, what: str) -> None:
        deadline = time.monotonic() + 300
        while not done():
            assert process.poll() is None, f"Snakemake ended before {what}"
            assert time.monotonic() < deadline, f"not within 5 minutes: {what}"
            time.sleep(0.1)

    def text(self, path: str) -> str:
        file = self.folder / path
        return file.read_text() if file.exists() else ""

    def job(self, coupling: str) -> dict[str, str]:
        """Return the last training job with a coupling."""
        comment = f"rule_train_model_wildcards_digits_rectified_flow_{coupling}_"
        return [job for job in self.cluster.jobs() if job["Comment"].startswith(comment)][-1]

    def weights_of_an_uninterrupted_run(self, coupling: str, match_size: int) -> str:
        """Return the checksum of the model, trained here and in one go."""
        config = parse_config({**self.content(), "scale": "smoke"})
        row = config.row("digits", "rectified_flow", coupling, match_size)
        folder = self.folder / "uninterrupted" / coupling
        torch.set_num_threads(1)
        train(
            config.run_settings(row, 0),
            open_store(self.folder / "results" / "smoke" / "data" / "digits"),
            folder,
        )
        return sha256(folder / "model.safetensors")


@pytest.fixture(scope="module")
def prepared(cluster, tmp_path_factory) -> ClusterProject:
    """A project that already has the dataset and its reference features."""
    project = ClusterProject(tmp_path_factory.mktemp("slurm") / "project", cluster)
    project.succeeds("results/smoke/features/digits/digit_classifier.npz", *SMOKE)
    return project


class Done:
    """A table made on the cluster, although one job was cancelled and one ran out of time."""

    def __init__(self, project: ClusterProject) -> None:
        self.project = project
        script = project.folder / "workflow" / "scripts" / "train_model.py"
        script.write_text(script.read_text().replace("\nwith job(snakemake):\n", SLOWED))
        for coupling in ("independent", "greedy"):
            (project.folder / f"slow-{coupling}").touch()
        options = "slurm_extra='--signal=TERM@60 --open-mode=append'"
        with open(project.folder / "output", "w") as output:
            process = subprocess.Popen(
                project.command(
                    *SLURM,
                    *("results/smoke/fid_digits.csv", *SMOKE),
                    *("--default-resources", "nodes=1", options),
                ),
                cwd=project.folder,
                env=project.environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.limited = self.limit(process)
            self.cancelled = self.cancel(process)
            self.timed_out = self.log_when("goes back into the queue", TIMED_OUT, process)
            job = self.limited["JobId"]
            project.cluster.command("scontrol", "update", f"JobId={job}", "TimeLimit=30")
            (project.folder / "slow-greedy").unlink()
            process.wait(timeout=400)
        finally:
            process.terminate()
            process.wait()
        self.output = project.text("output")
        assert process.returncode == 0, self.output[-6000:]
        self.jobs = project.cluster.jobs()

    def training_has_begun(self, run: str, process) -> None:
        stats = f"{RUNS}/{run}/training/stats.jsonl"
        self.project.wait_until(
            lambda: self.project.text(stats).count("\n") >= 2, process, f"training of {run}"
        )

    def log_when(self, line: str, run: str, process) -> str:
        log = f"{LOGS}/{run}.log"
        self.project.wait_until(lambda: line in self.project.text(log), process, f"{line} {run}")
        return self.project.text(log)

    def limit(self, process) -> dict[str, str]:
        """Bring the wall time of the one job near, while it trains."""
        self.training_has_begun(TIMED_OUT, process)
        job = self.project.job("greedy")
        hours, minutes, seconds = map(int, job["RunTime"].split(":"))
        # Slurm looks every 30 s whether to send the signal, 60 s before the end at the latest.
        limit = math.ceil((3600 * hours + 60 * minutes + seconds + 40) / 60)
        self.project.cluster.command(
            "scontrol", "update", f"JobId={job['JobId']}", f"TimeLimit={limit}"
        )
        return job

    def cancel(self, process) -> str:
        """Cancel the other job while it trains, and let the next one run."""
        self.training_has_begun(CANCELLED, process)
        job = self.project.job("independent")
        self.project.cluster.command("scancel", job["JobId"])
        log = self.log_when("not requeued", CANCELLED, process)
        (self.project.folder / "slow-independent").unlink()
        return log


@pytest.fixture(scope="module")
def done(prepared) -> Done:
    return Done(prepared)


def images_at_the_end(log: str) -> int:
    return int(re.search(r"told to end after (\d+) images", log)[1])


def test_the_table_is_made_by_jobs_with_the_gpus_they_asked_for(done):
    table = read_table(done.project.folder / "results" / "smoke" / "fid_digits.csv")
    assert set(table["match_size"].dropna()) == {0, 100}
    jobs = {}
    for job in done.jobs:
        rule = re.match(r"rule_([a-z_]+?)(_wildcards|$)", job["Comment"])[1]
        jobs.setdefault(rule, []).append(job)
    assert set(jobs) == {"train_model", "evaluate_run", "collect_distances"}
    for job in (*jobs["train_model"], *jobs["evaluate_run"]):
        assert job["TresPerJob"] == "gres:gpu:1"
    assert "TresPerJob" not in jobs["collect_distances"][0]
    gpus = [re.findall(r"^GPU (.*)$", log, re.M) for log in (done.cancelled, done.timed_out)]
    # Both trained at once, each with a GPU of its own.
    assert sorted(gpus) == [["0"], ["1"]]


def test_a_cancelled_job_is_submitted_again_and_continues(done):
    assert re.search(r"told to end after \d+ images; the state is saved", done.cancelled)
    log = done.project.text(f"{LOGS}/{CANCELLED}.log")
    assert f"continuing after {images_at_the_end(done.cancelled)} images" in log
    jobs = [job for job in done.jobs if "train_model" in job["Comment"]]
    states = [job["JobState"] for job in jobs if "independent" in job["Comment"]]
    assert states == ["CANCELLED", "COMPLETED"]
    model = done.project.folder / RUNS / CANCELLED / "model.safetensors"
    assert sha256(model) == done.project.weights_of_an_uninterrupted_run("independent", 0)


def test_a_job_at_its_wall_time_requeues_itself_and_continues(done):
    assert 0 < images_at_the_end(done.timed_out) < STEPS * 32
    log = done.project.text(f"{LOGS}/{TIMED_OUT}.log")
    assert f"continuing after {images_at_the_end(done.timed_out)} images" in log
    (job,) = [job for job in done.jobs if job["JobId"] == done.limited["JobId"]]
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    model = done.project.folder / RUNS / TIMED_OUT / "model.safetensors"
    assert sha256(model) == done.project.weights_of_an_uninterrupted_run("greedy", 100)


@pytest.fixture(scope="module")
def gres(prepared, tmp_path_factory) -> ClusterProject:
    """Another project, on a cluster that is asked for GPUs as gres."""
    project = ClusterProject(tmp_path_factory.mktemp("gres") / "project", prepared.cluster)
    shutil.copytree(prepared.folder / "results" / "smoke" / "data", project.folder / "data")
    (project.folder / "results").mkdir()
    (project.folder / "data").rename(project.folder / "results" / "smoke" / "data")
    content = project.content()
    content["cluster"] = {"gpu_request": "gres"}
    row = {**content["experiments"][1], "match_size": 1000, "recipe": "two_gpus"}
    content["experiments"].append(row)
    project.write(content)
    return project


def test_two_gpus_train_together(gres):
    gres.succeeds(*SLURM, f"{RUNS}/{BOTH_GPUS}/run.json", *SMOKE)
    assert gres.job("greedy_1000")["TresPerNode"] == "gres:gpu:2"
    assert "GPU 0,1\n" in gres.text(f"{LOGS}/{BOTH_GPUS}.log")
    run = read_json(gres.folder / RUNS / BOTH_GPUS / "run.json")
    assert run["processes"] == 2
    assert run["snapshots"][-1]["images_seen"] == STEPS * 32


def test_a_job_that_fails_shows_its_log(gres):
    state = gres.folder / RUNS / CANCELLED / "training" / "state.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"spoilt")
    output = gres.fails(*SLURM, f"{RUNS}/{CANCELLED}/run.json", *SMOKE, "--retries", "0")
    job = gres.job("independent")
    assert job["JobState"] == "FAILED"
    assert f"{LOGS}/{CANCELLED}.log" in output
    assert "state.pt: expected a training state, found 6 bytes" in output
    assert job["StdOut"] in output
    assert f"{LOGS}/{CANCELLED}.log" in Path(job["StdOut"]).read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--default-resources", "slurm_partition=nowhere"),
            "invalid partition .*: nowhere",
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
