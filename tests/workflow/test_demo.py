"""The demo at smoke scale: it survives being killed, and reruns exactly what it must."""

import copy
import os
import random
import re
import shutil
import signal
import subprocess
import time
import zipfile
from collections import Counter

import pytest
import yaml
from rocrate.rocrate import ROCrate

from dansm.analysis.claims import VERDICTS
from dansm.config import load_config
from dansm.io.records import Records
from dansm.io.tables import (
    CLAIM_COLUMNS,
    COMPARISON_COLUMNS,
    SPEED_COLUMNS,
    SUMMARY_COLUMNS,
    read_table,
)

from ..browser import visit
from .conftest import Project

SMOKE = ("--config", "scale=smoke")
# Fewer runs than the demo has, but of each kind; and of these a coupling that is fitted, and one
# that is taught.
COMPARISONS = {
    "digits": {
        "runs": ["vanilla", "dansm_100", "dansm_10000", "diffusion_vanilla"],
        "seeds": [0, 1],
        "unequal": ["recipe", "sampling"],
    },
    "digits_demo": {
        "dataset": "digits",
        "runs": ["vanilla", "dansm_10000", "semidiscrete_covariance", "reflow"],
        "seeds": [0],
        "figures": ["comparison", "claims"],
    },
    "digits_couplings": {"dataset": "digits", "runs": ["vanilla", "loom"], "figures": ["saving"]},
    "digits_latent": {"figures": ["distance_table"]},
    **{name: {"runs": ["vanilla"]} for name in ("mnist16", "cifar10", "bedroom")},
}


def runs_of(measure: dict) -> list[str]:
    """The runs that a claim's measure names."""
    single = [measure[key] for key in ("run", "than") if key in measure]
    return [*measure.get("runs", ()), *single]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Project:
    """The finished demo, after one kill in the middle of a training job."""
    project = Project(tmp_path_factory.mktemp("demo") / "project")
    content = yaml.safe_load(project.config.read_text())
    compared = [{*entry.get("runs", ())} for entry in COMPARISONS.values()]
    content["claims"] = [
        claim
        for claim in content["claims"]
        if "comparisons" not in claim
        and any({*runs_of(claim["measure"])} <= runs for runs in compared)
    ]
    shown = ["digits", "digits_latent", "digits_demo"]
    content |= {"comparisons": COMPARISONS, "targets": {"demo": shown}, "report": shown}
    project.config.write_text(yaml.safe_dump(content, sort_keys=False))
    started = subprocess.Popen(
        project.command("demo", *SMOKE),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    runs = project.folder / "results" / "smoke" / "runs"
    deadline = time.monotonic() + 300
    while not list(runs.rglob("tensorboard")):
        assert started.poll() is None, "the demo ended before a training began"
        assert time.monotonic() < deadline, "no training began in time"
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    project.succeeds("--unlock", *SMOKE)
    project.succeeds("demo", *SMOKE)
    return project


def results(project):
    return project.folder / "results" / "smoke"


def records(project):
    return Records(results(project))


def dependents(project, *lost):
    """Return the recorded jobs that made something lost, and all that depend on them."""
    lost, rerun = set(lost), []
    jobs = [job for job in records(project).jobs if job.rule not in ("write_report", "write_crate")]
    while more := [
        job for job in jobs if job not in rerun and not lost.isdisjoint([*job.inputs, *job.outputs])
    ]:
        rerun += more
        lost |= {output for job in more for output in job.outputs}
    return Counter(job.rule for job in rerun)


def test_every_result_is_there(demo):
    folder = results(demo)
    figures = {path.name for path in (folder / "figures").iterdir() if path.is_file()}
    drawn = {path.stem for path in (demo.folder / "notebooks").glob("*.ipynb")}
    drawn -= {"comparison", "matching_cost", "best_of_k", "straightness"}
    expected = [f"{figure}_digits" for figure in drawn] + ["comparison_digits_demo", "best_of_k"]
    for name in [*expected, "distance_table_digits_latent", "path_geometry_digits_latent"]:
        assert {f"{name}.{ending}" for ending in ("pdf", "png", "ipynb")} <= figures
    speed = read_table(folder / "speed_digits.csv", SPEED_COLUMNS)
    assert set(speed["run"]) >= {"dansm_100", "dansm_10000"}
    assert not (demo.folder / "results" / "distances_digits.csv").exists()
    assert not (folder / "fid_digits.csv").exists()


def test_the_table_holds_every_measurement(demo):
    table = read_table(results(demo) / "distances_digits.csv", COMPARISON_COLUMNS)
    frechet = table[table["metric"] == "frechet_distance"]
    assert set(frechet["feature_extractor"]) == {"classifier"}
    assert (frechet["value"] > 0).all()
    # Held-out images against training ones, and the other way round, 16 of 597 and of 1 200.
    assert (frechet["process"] == "real_images").sum() == 2 * 5
    flow = frechet[frechet["process"] == "rectified_flow"]
    # 3 runs × 2 seeds × (1 snapshot × 4 step counts + the last: 5 step counts × 5 sets of images,
    # and 2 kinds of one set), against training and held-out images.
    assert len(flow) == 3 * 2 * (4 + 5 * 5 + 2) * 2
    euler = flow[flow["sampler"] == "euler"]
    assert (euler["nfe"] == euler["steps"].astype(float)).all()
    assert (flow[flow["sampler"] == "rk45"]["nfe"] > 5).all()
    diffusion = frechet[frechet["process"] == "diffusion"]
    original = diffusion[diffusion["sampler"] == "ddim_original"]
    assert set(original[original["steps"] == 3]["nfe"]) == {4.0}
    # What is not equal is said; with which run each is compared, too.
    assert set(table["unequal"]) == {"recipe, sampling"}
    assert set(flow["baseline"]) == {"vanilla"}
    assert set(diffusion["baseline"]) == {"diffusion_vanilla"}
    latent = read_table(results(demo) / "distances_digits_latent.csv", COMPARISON_COLUMNS)
    # Fréchet and kernel distance, precision, recall and classifier score.
    assert (latent["process"] == "reconstruction").sum() == 5
    assert (latent["process"] == "real_images").sum() == 2 * 5 * 5
    for metric in ("kernel_distance", "precision", "recall", "classifier_score"):
        processes = table[table["metric"] == metric]["process"]
        assert (processes == "rectified_flow").sum() == 3 * 2 * (5 * 5 + 2) * 2
    assert set(latent["dataset"]) == {"digits_latent"}
    taught = read_table(results(demo) / "summary_digits_demo.csv", SUMMARY_COLUMNS)
    assert set(taught["run"].dropna()) == set(COMPARISONS["digits_demo"]["runs"])


def test_the_plan_counted_the_jobs_that_were_run(demo, project):
    """A fresh copy's plan against what the finished demo noted of its jobs."""
    project.config.write_text(demo.config.read_text())
    done = project.run("-m", "dansm.cli", "plan", "demo", "--scale", "smoke")
    assert done.returncode == 0, done.stdout
    (total,) = re.findall(r"^ *total +(\d+) ", done.stdout, flags=re.MULTILINE)
    passed_on = ("write_report", "write_crate")
    found = [job for job in records(demo).jobs if job.rule not in passed_on]
    assert int(total) == len(found) + 1  # and the target itself


def test_nothing_to_do_costs_nothing(demo):
    done = demo.run("-m", "dansm.cli", "plan", "demo", "--scale", "smoke")
    assert re.search(r"^ *total +0 +– +– +– +–", done.stdout, flags=re.MULTILINE), done.stdout


def test_done_means_done(demo):
    assert demo.planned("demo", *SMOKE) == {}


def test_removing_any_result_rebuilds_what_depends_on_it(demo):
    passed_on = ("write_report", "write_crate")
    of_rules = {job.rule: job for job in records(demo).jobs if job.rule not in passed_on}
    assert len(of_rules) > 15
    for rule, job in of_rules.items():
        file, aside = results(demo) / job.outputs[0], demo.folder / "aside"
        file.rename(aside)
        planned = demo.planned("demo", *SMOKE)
        aside.rename(file)
        assert planned == {**dependents(demo, *job.outputs), "demo": 1}, (rule, file)
    assert demo.planned("demo", *SMOKE) == {}


def test_changing_a_run_reruns_what_depends_on_it(demo):
    before = demo.config.read_text()
    content = yaml.safe_load(before)
    entry = next(e for e in content["runs"] if "diffusion_vanilla" in e.get("grid", {}))
    entry["grid"]["diffusion_vanilla"] = {"snapshots": 1}
    demo.config.write_text(yaml.safe_dump(content, sort_keys=False))
    try:
        jobs = demo.planned("demo", *SMOKE)
    finally:
        demo.config.write_text(before)
    seeds = [f"runs/digits/diffusion_vanilla/seed{seed}/run.json" for seed in (0, 1)]
    assert jobs == {**dependents(demo, *seeds), "demo": 1}
    assert jobs["train_model"] == jobs["evaluate_run"] == 2
    assert demo.planned("demo", *SMOKE) == {}


def test_what_makes_no_difference_makes_nothing_anew(demo):
    """Another licence or tracker, a touched script, and a setting that comes with a default."""
    before = demo.config.read_text()
    changed = before.replace("licence: CC BY 4.0", "licence: As is, once CC BY 4.0")
    content = yaml.safe_load(changed) | {"trackers": ["wandb"]}
    demo.config.write_text(yaml.safe_dump(content, sort_keys=False))
    for script in (demo.folder / "workflow" / "scripts").glob("*.py"):
        script.write_text(script.read_text() + "\n# touched\n")
    models = demo.folder / "src/dansm/config/runs.py"
    text = models.read_text()
    field = "    seed: Seed\n"
    demo.edit("src/dansm/config/runs.py", field, field + "    warmup: int = 7\n")
    try:
        assert demo.planned("demo", *SMOKE) == {}
    finally:
        models.write_text(text)
        demo.config.write_text(before)
        demo.has_own_library = False


def test_neither_a_copy_nor_any_dates_make_anything_anew(demo, tmp_path):
    moved = copy.copy(demo)
    moved.folder = tmp_path / "copy"
    moved.config = moved.folder / "config" / "config.yaml"
    shutil.copytree(demo.folder, moved.folder, copy_function=shutil.copyfile)
    assert moved.planned("demo", *SMOKE) == {}
    dates = random.Random(0)
    for path in [*results(moved).rglob("*"), *(moved.folder / "notebooks").iterdir()]:
        os.utime(path, (dates.uniform(1e9, 3e9),) * 2)
    assert moved.planned("demo", *SMOKE) == {}
    assert moved.planned("demo", *SMOKE) == {}


def test_an_edited_result_is_refused(demo):
    table = results(demo) / "distances_digits.csv"
    before = table.read_text()
    table.write_text(before.replace("rectified_flow", "rectified_blow", 1))
    assert "results/smoke/distances_digits.csv" in demo.fails("--dry-run", "demo", *SMOKE)
    table.write_text(before)
    assert demo.planned("demo", *SMOKE) == {}


def test_a_snapshot_cut_short_is_named_in_the_rules_log(demo):
    run = results(demo) / "runs" / "digits" / "dansm_100" / "seed1"
    (run / "distances.csv").unlink()
    snapshot = sorted((run / "snapshots").glob("*.safetensors"))[0]
    content = snapshot.read_bytes()
    snapshot.unlink()
    snapshot.write_bytes(content[:-100])
    output = demo.fails("demo", *SMOKE)
    assert str(snapshot.relative_to(demo.folder)) in output
    snapshot.write_bytes(content)
    demo.succeeds("demo", *SMOKE)


def test_claims_are_judged_by_what_the_demo_measured(demo):
    table = read_table(results(demo) / "claims_digits.csv", CLAIM_COLUMNS).set_index("name")
    assert set(table["verdict"]) <= set(VERDICTS)
    found = table.loc["better_at_3_steps"]
    assert found["n"] == 2 and found["low"] < found["value"] < found["high"]
    # Another comparison has the runs of this one.
    assert "covariance_beats_greedy_3_steps" not in table.index
    assert table.loc["matching_is_cheap"]["verdict"] == "undecided"  # no such pool at this scale
    assert "was not timed" in table.loc["matching_is_cheap"]["why"]


@pytest.fixture(scope="module")
def passed_on(demo) -> Project:
    """The demo with its report and its crate."""
    demo.succeeds("results/smoke/report.zip", "results/smoke/crate.zip", *SMOKE)
    return demo


def test_the_report_holds_every_table_and_figure(passed_on):
    folder = results(passed_on)
    with zipfile.ZipFile(folder / "report.zip") as report:
        names = set(report.namelist())
        config = yaml.safe_load(report.read("report/config.yaml"))
    figures = {path.name for path in (folder / "figures").iterdir() if path.is_file()}
    assert {f"report/figures/{name}" for name in figures} <= names
    assert {f"report/{path.name}" for path in folder.glob("*.csv")} <= names
    assert config["scale"] == "smoke" and config["report"] == [
        "digits",
        "digits_latent",
        "digits_demo",
    ]


def test_a_browser_shows_the_report(passed_on, tmp_path):
    with zipfile.ZipFile(results(passed_on) / "report.zip") as report:
        report.extractall(tmp_path)
    pages = sorted(tmp_path.rglob("*.html"))
    for page, seen in visit(pages).items():
        assert seen.errors == seen.outside == seen.broken_links == [], page
        if page.name == "index.html":
            shown = {name for name, visible in seen.images if visible}
            assert shown == {path.stem for path in (results(passed_on) / "figures").glob("*.png")}
            assert len(shown) == len(seen.images)


def test_the_crate_can_be_read(passed_on):
    crate = ROCrate(results(passed_on) / "crate.zip")
    assert crate.mainEntity.id == "workflow/Snakefile"
    made = {entity.id for entity in crate.get("#run")["result"]}
    tables = {"distances_digits.csv", "speed_digits_latent.csv"}
    assert {f"results/{name}" for name in tables} <= made
    config = load_config(passed_on.config)
    seeds = {(one.dataset, run, seed) for one in map(config.comparison, config.report)
             for run in one.runs for seed in one.seeds[run]}  # fmt: skip
    assert sum(name.endswith("/run.json") for name in made) == len(seeds)


def test_every_result_can_be_traced(demo):
    found = records(demo)
    assert all(job.finished for job in found.jobs) and found.unproven() == []
    behind = {job.rule for job in found.behind("distances_digits.csv")}
    assert {"collect_distances", "evaluate_run", "train_model", "build_dataset"} <= behind
    assert not {"draw_figure", "draw_pairs"} & behind
    taught = found.behind("runs/digits/reflow/seed0/run.json")
    assert [job.rule for job in taught].count("train_model") == 2
    assert "make_pairs" in {job.rule for job in taught}
