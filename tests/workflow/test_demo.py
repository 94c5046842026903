"""The whole demo at smoke scale: it survives being killed, and reruns exactly what it must."""

import os
import re
import signal
import subprocess
import time
import zipfile
from collections import Counter

import pandas as pd
import pytest
import yaml
from rocrate.rocrate import ROCrate

from dansm.analysis.claims import VERDICTS
from dansm.io.tables import CLAIM_COLUMNS, read_table
from dansm.workflow.jobs import jobs_behind, read_records

from ..browser import visit
from .conftest import Project

SMOKE = ("--config", "scale=smoke")


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Project:
    """The finished demo, after one kill in the middle of a training job."""
    project = Project(tmp_path_factory.mktemp("demo") / "project")
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


def test_every_result_is_there(demo):
    figures = {path.name for path in (results(demo) / "figures").iterdir() if path.is_file()}
    for dataset in ("digits", "digits_latent"):
        names = ["distance_table", "distance_curves", "distance_time", "saving", "claims"]
        names += ["matching_share", "noise_sample_tsne", "path_geometry"]
        names += ["nearest_share", "loss_over_time", "reproducibility"]
        for figure in names:
            for ending in ("pdf", "png", "ipynb"):
                assert f"{figure}_{dataset}.{ending}" in figures
        assert f"sample_grid_rectified_flow_{dataset}.png" in figures
        assert len(pd.read_csv(results(demo) / f"speed_{dataset}.csv")) > 0
    for figure in ("coupling_ablation", "coupling_saving", "coupling_claims"):
        assert f"{figure}_digits_demo.pdf" in figures
    assert {f"best_of_k.{ending}" for ending in ("pdf", "png", "ipynb")} <= figures
    assert not (demo.folder / "results" / "fid_digits.csv").exists()


def test_the_table_holds_every_measurement(demo):
    table = read_table(results(demo) / "fid_digits.csv")
    frechet = table[table["metric"] == "frechet_distance"]
    assert set(frechet["feature_extractor"]) == {"digit_classifier"}
    assert (frechet["value"] > 0).all()
    assert (frechet["process"] == "real_halves").sum() == 5
    flow = frechet[frechet["process"] == "rectified_flow"]
    # 4 match sizes × 2 seeds × (1 snapshot × 4 step counts + the last: 5 step counts × 3 ranges,
    # and 3 kinds of long sampling).
    assert len(flow) == 4 * 2 * (4 + 5 * 3 + 3)
    euler = flow[flow["sampler"] == "euler"]
    assert (euler["nfe"] == euler["steps"].astype(float)).all()
    assert (flow[flow["sampler"] == "rk45"]["nfe"] > 5).all()
    diffusion = frechet[frechet["process"] == "diffusion"]
    original = diffusion[diffusion["sampler"] == "ddim_original"]
    assert set(original[original["steps"] == 3]["nfe"]) == {4.0}
    latent = read_table(results(demo) / "fid_digits_latent.csv")
    # Fréchet and kernel distance, precision, recall and classifier score.
    assert (latent["process"] == "reconstruction").sum() == 5
    assert (latent["process"] == "real_halves").sum() == 5 * 5
    for metric in ("kernel_distance", "precision", "recall", "classifier_score"):
        processes = table[table["metric"] == metric]["process"]
        assert (processes == "rectified_flow").sum() == 4 * 2 * (5 * 3 + 3)  # the last snapshots
    assert set(latent["dataset"]) == {"digits_latent"}


def test_the_plan_counted_the_jobs_that_were_run(demo, project):
    """A fresh copy's plan against what the finished demo noted of its jobs."""
    done = project.run("-m", "dansm.cli", "plan", "demo", "--scale", "smoke")
    assert done.returncode == 0, done.stdout
    found = len(list((results(demo) / "benchmarks").rglob("*.tsv")))
    (total,) = re.findall(r"^ *total +(\d+) ", done.stdout, flags=re.MULTILINE)
    assert int(total) == found + 1  # and the target itself


def test_nothing_to_do_costs_nothing(demo):
    done = demo.run("-m", "dansm.cli", "plan", "demo", "--scale", "smoke")
    assert re.search(r"^ *total +0 +– +– +– +–", done.stdout, flags=re.MULTILINE), done.stdout


def test_done_means_done(demo):
    assert demo.planned("demo", *SMOKE) == {}


def test_deleting_a_figure_rebuilds_that_figure(demo):
    (results(demo) / "figures" / "distance_curves_digits.png").unlink()
    assert demo.planned("demo", *SMOKE) == {"distance_curves": 1, "demo": 1}
    demo.succeeds("demo", *SMOKE)
    assert demo.planned("demo", *SMOKE) == {}


def test_removing_any_result_rebuilds_what_depends_on_it(demo):
    records = read_records(demo.folder / "results" / "smoke")
    passed_on = ("write_report", "write_crate")
    jobs = {
        record["outputs"][0]: record
        for record in records.values()
        if record["rule"] not in passed_on
    }
    # Nothing depends on figures: one is removed in the test before.
    of_rules = {job["rule"]: path for path, job in jobs.items() if "/figures/" not in path}
    assert len(of_rules) > 12
    for rule, path in of_rules.items():
        lost, rerun = set(jobs[path]["outputs"]), [jobs[path]]
        while more := [
            job for job in jobs.values() if job not in rerun and not lost.isdisjoint(job["inputs"])
        ]:
            rerun += more
            lost |= {output for job in more for output in job["outputs"]}
        file, aside = demo.folder / path, demo.folder / "aside"
        file.rename(aside)
        planned = demo.planned("demo", *SMOKE)
        aside.rename(file)
        assert planned == {**Counter(job["rule"] for job in rerun), "demo": 1}, (rule, path)
    assert demo.planned("demo", *SMOKE) == {}


def test_changing_a_row_reruns_what_depends_on_it(demo):
    row = "coupling: greedy, match_size: 100, seeds: [0], recipe: digits_diffusion"
    before = demo.config.read_text()
    demo.edit_config(row, row + ", snapshots: 1")
    try:
        jobs = demo.planned("demo", *SMOKE)
    finally:
        demo.config.write_text(before)
    assert jobs == {
        "train_model": 1,
        "evaluate_run": 1,
        "collect_distances": 1,
        "collect_times": 1,
        "measure_speed": 1,
        "measure_claims": 1,
        "distance_table": 1,
        "distance_curves": 1,
        "distance_time": 1,
        "saving": 1,
        "claims": 1,
        "sample_grid": 1,
        "measure_reproducibility": 1,
        "reproducibility": 1,
        "demo": 1,
    }
    assert demo.planned("demo", *SMOKE) == {}


def test_an_edited_result_is_refused(demo):
    table = results(demo) / "fid_digits.csv"
    before = table.read_text()
    table.write_text(before.replace("rectified_flow", "rectified_blow", 1))
    assert "results/smoke/fid_digits.csv" in demo.fails("--dry-run", "demo", *SMOKE)
    table.write_text(before)
    assert demo.planned("demo", *SMOKE) == {}


def test_a_snapshot_cut_short_is_named_in_the_rules_log(demo):
    run = results(demo) / "runs" / "digits" / "rectified_flow" / "greedy-100" / "seed1"
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
    # Of semidiscrete_covariance only the comparison of couplings knows.
    assert table.loc["covariance_beats_greedy_3_steps"]["n"] == 1
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
    assert config["scale"] == "smoke" and config["demo"] == ["digits", "digits_latent"]


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
    assert {"results/smoke/fid_digits.csv", "results/smoke/speed_digits_latent.csv"} <= made
    # 8 of flow, 3 of other couplings, 4 of diffusion, 2 of latents.
    assert sum(name.endswith("/run.json") for name in made) == 17


def test_every_job_left_a_record(demo):
    records = read_records(demo.folder / "results" / "smoke")
    done = len(list((results(demo) / "benchmarks").rglob("*.tsv")))
    assert len({id(record) for record in records.values()}) == done
    behind = {job["rule"] for job in jobs_behind("results/smoke/fid_digits.csv", records)}
    assert {"collect_distances", "evaluate_run", "train_model", "build_dataset"} <= behind
    assert not {"distance_table", "draw_pairs"} & behind
