"""The command line."""

import json
import os
import subprocess
import sys
import zipfile
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from typer.testing import CliRunner

from dansm import cli
from dansm.analysis.distances import summarise
from dansm.analysis.saving import speed_table
from dansm.cli import app
from dansm.config import DigitsSource, HeldOut, load_config, parse_config, read_yaml
from dansm.couplings import Batch, make_coupling
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.io.files import read_json, write_text
from dansm.io.records import recorded
from dansm.io.tables import COMPARISON_COLUMNS, SPEED_COLUMNS, SUMMARY_COLUMNS, write_table
from dansm.metrics.classifier import train_classifier
from dansm.metrics.extractors import make_extractor
from dansm.metrics.reference import compute_reference
from dansm.randomness import image_noises

from .test_project import ROOT

run = CliRunner().invoke
RUN = "results/smoke/runs/digits/dansm_100/seed1"


def smoke_config():
    return parse_config({**read_yaml(ROOT / "config/config.yaml"), "scale": "smoke"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text((ROOT / "config/config.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_waits_for_nothing_that_takes_long():
    code = """
import atexit, sys
slow = ["accelerate", "diffusers", "numpy", "pandas", "pydantic", "scipy", "torch", "yaml"]
atexit.register(lambda: print("imported", [name for name in slow if name in sys.modules]))
sys.argv = ["dansm", "--help"]
from dansm.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "match" in done.stdout
    assert done.stdout.endswith("imported []\n"), done.stdout + done.stderr


def test_schema_is_written_and_checked(folder):
    path = folder / "config" / "config.schema.json"
    assert run(app, ["schema", "--check"]).exit_code == 1
    assert run(app, ["schema"]).exit_code == 0
    assert "comparisons" in json.loads(path.read_text())["properties"]
    assert run(app, ["schema", "--check"]).exit_code == 0
    path.write_text("{}")
    assert "out of date" in run(app, ["schema", "--check"]).output


def test_train_trains_the_run_of_a_folder(folder):
    results = folder / "results" / "smoke"
    run_folder = RUN
    missing = run(app, ["train", run_folder])
    assert missing.exit_code == 1
    assert "results/smoke/data/digits/meta.json: expected a JSON file" in missing.output
    build_pixel_store(
        DigitsSource(kind="sklearn_digits"), (1, 8, 8), "none", results / "data" / "digits"
    )
    (folder / "site.yaml").write_text("trackers: []\n")
    done = run(app, ["train", run_folder, "--configfile", "site.yaml"])
    assert done.exit_code == 0, done.output
    assert not (folder / run_folder / "training" / "tensorboard").exists()
    config = smoke_config()
    settings = read_json(folder / run_folder / "run.json")["settings"]
    assert settings == config.run_settings(config.run("digits", "dansm_100"), 1).plain()


@pytest.fixture
def finished(folder):
    """The smoke run of digits, and the features of the real ones."""
    results = folder / "results" / "smoke"
    store = results / "data" / "digits"
    share = HeldOut(share=0.332)
    build_pixel_store(DigitsSource(kind="sklearn_digits"), (1, 8, 8), "none", store, held_out=share)
    assert run(app, ["train", RUN]).exit_code == 0
    classifier = smoke_config().classifiers["digits"]
    train_classifier(
        classifier, open_store(store), open_store(store), results / "classifiers" / "digits"
    )
    extractor = make_extractor(
        "classifier",
        open_store(store),
        classifier=classifier,
        classifier_path=results / "classifiers" / "digits",
    )
    features = results / "features" / "digits"
    for part in ("training", "held_out"):
        compute_reference(
            open_store(store),
            extractor,
            dataset="digits",
            part=part,
            features=features / part / "classifier.npz",
            floor=features / part / "floor.csv",
        )
    return RUN


def test_a_finished_run_is_sampled_and_evaluated(finished, folder):
    def ok(*arguments):
        done = run(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    steps = ("--steps", 3)
    ok("sample", finished, "eight.npz", *steps, "--count", 8)
    ok("sample", finished, "three.npz", *steps, "--count", 3, "--first", 2)
    eight, three = np.load(folder / "eight.npz"), np.load(folder / "three.npz")
    assert eight["images"].shape == (8, 1, 8, 8) and eight["nfe"].tolist() == [3] * 8
    np.testing.assert_array_equal(eight["images"][2:5], three["images"])
    ok("sample", finished, "png", *steps, "--count", 8)
    assert len(list((folder / "png").glob("*.png"))) == 8
    of_run = ok("evaluate", finished, *steps, "--count", 8)
    where = ("--dataset", "digits", "--results", "results/smoke")
    assert ok("evaluate", "eight.npz", *where) == of_run
    assert ok("evaluate", "png", *where) == of_run
    table = pd.read_csv(StringIO(of_run), index_col="metric")
    assert set(table.index) >= {"frechet_distance", "precision", "recall", "classifier_score"}
    assert (table["value"]["frechet_distance"] > 0).all() and set(table["n_samples"]) == {8}
    assert "model/README.md says how" in ok("export", finished, "model")
    model = UNet2DModel.from_pretrained(folder / "model").eval()
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "model")
    scheduler.set_timesteps(sigmas=np.linspace(0.999, 0, 3, endpoint=False))
    points = image_noises(0, 8, (1, 8, 8))
    with torch.no_grad():
        for time in scheduler.timesteps:
            points = scheduler.step(model(points, time).sample, time, points).prev_sample
    # Rounded to the store's integers.
    np.testing.assert_allclose((points.clamp(-1, 1) + 1) * 8, eight["images"], atol=0.5 + 1e-4)
    card = (folder / "model" / "README.md").read_text()
    assert "UCI" in card and "Not measured." in card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "{run}", "{run}", "--steps", "3"], "new or empty folder"),
        (["sample", "{run}", "a.npz", "--sampler", "ddim_original"], "grid"),
        (["sample", "{run}", "a.npz", "--sampler", "ddim"], "unknown sampler 'ddim'; expected one"),
        (["export", "{run}", "config"], "config: expected the name of a new folder, found one"),
        (["export", "config", "model"], "config: expected results/runs/DATASET/RUN/seedSEED"),
        (["export", "{run}2", "model"], "seed12: expected a finished run, found no run.json"),
        (["evaluate", "config"], "config: expected --dataset for images that are not of a run"),
        (["evaluate", "{run}", "--extractor", "inception_clean"], "expected one of ['classifier'"),
        (["evaluate", "config", "--dataset", "cats"], "unknown dataset 'cats'; expected one of"),
        (
            ["evaluate", "config", "--dataset", "digits", "--results", "results/smoke"],
            "config: expected images",
        ),
    ],
)
def test_sample_and_evaluate_name_what_is_wrong(finished, arguments, message):
    done = run(app, [argument.format(run=finished) for argument in arguments])
    assert done.exit_code == 1
    assert message in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(("coupling", "match_size"), [("greedy", 100), ("hungarian", 50)])
def test_match_pairs_the_samples_of_a_file(folder, coupling, match_size):
    samples = np.random.default_rng(0).standard_normal((120, 1, 4, 4), dtype=np.float32)
    np.save("samples.npy", samples)
    options = ["--coupling", coupling, "--match-size", str(match_size), "--batch-size", "32"]
    done = run(app, ["match", "samples.npy", "pairs.npz", *options])
    assert done.exit_code == 0, done.output
    pairs = np.load("pairs.npz")
    assert done.output == "pairs.npz: 120 pairs\n"
    assert sorted(pairs["index"]) == list(range(120))
    np.testing.assert_array_equal(pairs["samples"], samples[pairs["index"]])
    matched = np.square(pairs["noise"] - pairs["samples"]).sum()
    assert matched < np.square(np.roll(pairs["noise"], 1, axis=0) - pairs["samples"]).sum()
    expected = make_coupling(coupling, match_size=match_size, seed=0)
    batches = (Batch(part) for part in torch.from_numpy(samples).split(32))
    noise = torch.cat([part.noise for part in expected.pairs(batches)])
    np.testing.assert_array_equal(pairs["noise"], noise.numpy())


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros((4, 2), np.uint8), [], "expected float32 or float64 samples"),
        (np.full((4, 2), np.nan), [], "samples: expected finite numbers"),
        (np.zeros((4, 2)), ["--coupling", "nearest"], "unknown coupling 'nearest'; expected"),
        (np.zeros((4, 2)), ["--coupling", "loom", "--match-size", "0"], "expected the options"),
        (np.zeros((4, 2)), ["--match-size", "0"], "greedy"),
        (None, [], "x.npy: expected arrays, found"),
        (np.zeros((4, 0), np.float32), [], "found float32 of shape (4, 0)"),
        (np.float32(1), [], "found float32 of shape ()"),
        (np.zeros((4, 2)), ["--match-size", "1000000000000"], "needs 14901.2 GiB, found"),
        (
            np.zeros((60, 4)),
            ["--coupling", "hungarian", "--match-size", "1000000000000"],
            "x.npy: match_size 1000000000000: a set of shape (4,) needs",
        ),
    ],
)
def test_match_names_what_is_wrong(folder, array, options, message):
    if array is not None:
        np.save("x.npy", array)
    done = run(app, ["match", "x.npy", "pairs.npz", *options])
    assert done.exit_code == 1
    assert message in done.output
    assert not (folder / "pairs.npz").exists()


def write_arrays(name, **arrays):
    samples = np.arange(60, dtype=np.float32).reshape(20, 3)
    np.savez_compressed(name, **({"samples": samples, "labels": np.arange(20)} | arrays))
    return Path(name).read_bytes()


@pytest.mark.parametrize("kind", ["itself", "link", "link to a link", "hard link", "another way"])
def test_match_never_writes_over_its_input(folder, kind):
    content = write_arrays("a.npz")
    (folder / "below").mkdir()
    output = {"itself": "a.npz", "another way": "below/../a.npz"}.get(kind, "b.npz")
    if kind == "hard link":
        Path("b.npz").hardlink_to("a.npz")
    elif output == "b.npz":
        Path("c.npz").symlink_to(folder / "a.npz")
        Path("b.npz").symlink_to("c.npz" if kind == "link to a link" else "a.npz")
    done = run(app, ["match", "a.npz", output, "--match-size", "10"])
    assert done.exit_code == 1
    assert f"{output}: expected another file than the input, found a.npz" in done.output
    assert Path("a.npz").read_bytes() == content


@pytest.mark.parametrize("there", [True, False])
def test_match_writes_through_a_link_to_its_target(folder, there):
    write_arrays("a.npz")
    (folder / "below").mkdir()
    if there:
        (folder / "below/t.npz").write_text("old")
    Path("l.npz").symlink_to("below/t.npz")
    done = run(app, ["match", "a.npz", "l.npz", "--match-size", "10"])
    assert done.exit_code == 0, done.output
    assert Path("l.npz").is_symlink() and len(np.load("below/t.npz")["noise"]) == 20
    assert sorted(p.name for p in folder.rglob("*.npz")) == ["a.npz", "l.npz", "t.npz"]


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (".", ".: expected the name of a file, found a folder"),
        ("config", "config: expected the name of a file, found a folder"),
        ("/dev/null", "/dev/null: expected the name of a file, found a device or pipe"),
        ("pipe.npz", "pipe.npz: expected the name of a file, found a device or pipe"),
        ("circle.npz", "circle.npz: expected the name of a file, found: "),
        ("n" * 300, "File name too long"),
        ("a.npz/b.npz", "a.npz"),
    ],
)
def test_match_refuses_outputs_that_are_no_files_before_it_works(
    folder, output, found, monkeypatch
):
    monkeypatch.setattr("dansm.single_steps.make_coupling", lambda *_, **__: 1 / 0)
    write_arrays("a.npz")
    os.mkfifo("pipe.npz")
    Path("circle.npz").symlink_to("circle.npz")
    done = run(app, ["match", "a.npz", output])
    assert done.exit_code == 1 and done.output.count("\n") == 1, done.output
    assert found in done.output
    assert sorted(p.name for p in folder.iterdir()) == ["a.npz", "circle.npz", "config", "pipe.npz"]


@pytest.mark.parametrize("kind", ["cut", "short", "flipped", "bytes", "empty", "folder", "pipe"])
def test_match_refuses_damaged_inputs_in_one_line(folder, kind):
    content = write_arrays("a.npz", samples=np.random.default_rng(0).random((20, 30), np.float32))
    if kind in ("folder", "pipe"):
        Path("a.npz").unlink()
        os.mkfifo("a.npz") if kind == "pipe" else Path("a.npz").mkdir()
    elif kind == "bytes":
        with zipfile.ZipFile("a.npz", "w") as archive:
            archive.writestr("samples.npy", b"no array")
    else:
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 1
        damaged = {"cut": content[:500], "short": content[:-1], "flipped": flipped, "empty": b""}
        Path("a.npz").write_bytes(damaged[kind])
    done = run(app, ["match", "a.npz", "b.npz"])
    assert done.exit_code == 1 and "a.npz: expected " in done.output, done.output
    assert done.output.count("\n") == 1 and not Path("b.npz").exists()


def test_match_takes_arrays_of_any_order_of_bytes_and_axes(folder):
    samples = np.random.default_rng(0).random((20, 3, 2), np.float32)
    found = []
    for one in (samples, samples.astype(">f4"), np.asfortranarray(samples)):
        np.save("x.npy", one)
        done = run(app, ["match", "x.npy", "y.npz", "--match-size", "10"])
        assert done.exit_code == 0, done.output
        found.append(np.load("y.npz")["noise"])
    np.testing.assert_array_equal(found[1:], [found[0]] * 2)


def test_names_and_signs_that_a_terminal_lacks_are_escaped(folder):
    (folder / os.fsdecode(b"caf\xe9") / "jobs").mkdir(parents=True)
    command = [sys.executable, "-m", "dansm", "verify", b"caf\xe9"]
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"caf") and b": all files are as their jobs" in done.stdout


def test_archive_and_pages(folder):
    figure = Path("results/figures/curves_digits.png")
    with recorded(Path("results"), "figure", "curves_digits", [figure]):
        write_text(figure, "a picture")
    readme = "<!-- generated: figure figures/curves_digits.png -->\n<!-- end -->\n"
    catalogue = "<!-- generated: couplings -->\n<!-- end -->\n"
    write_text(folder / "docs" / "figures.md", "")
    write_text(folder / "docs" / "couplings.md", catalogue)
    write_text(folder / "docs" / "results.md", "")
    write_text(folder / "docs" / "scale.md", "")
    write_text(folder / "config" / "README.md", catalogue)
    (folder / "README.md").write_text(readme)
    done = run(app, ["archive", str(figure)])
    assert done.exit_code == 0, done.output
    assert (folder / "results/reference/figures/curves_digits.png").read_text() == "a picture"
    assert "![curves_digits](results/reference/" in (folder / "README.md").read_text()
    assert "| `greedy` |" in (folder / "config" / "README.md").read_text()
    assert run(app, ["pages", "--check"]).exit_code == 0
    (folder / "README.md").write_text(readme)
    stale = run(app, ["pages", "--check"])
    assert stale.exit_code == 1 and "README.md: out of date; run `dansm pages`" in stale.output
    missing = run(app, ["archive", "results/fid_mnist.csv"])
    assert missing.exit_code == 1
    assert "results/fid_mnist.csv: expected the record of the job" in missing.output


def test_verify_names_what_is_not_as_made(folder):
    assert "expected a results folder" in run(app, ["verify"]).output
    table = Path("results/speed_digits.csv")
    with recorded(Path("results"), "measure_speed", "digits", [table]):
        write_text(table, "1")
    done = run(app, ["verify", "results"])
    assert done.exit_code == 0 and "all files are as their jobs made them" in done.output
    write_text(table, "2")
    done = run(app, ["verify"])
    assert done.exit_code == 1 and f"{table}: altered" in done.output


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("results/digits", "expected results/runs/DATASET/RUN/seedSEED"),
        ("results/tiny/runs/digits/dansm_100/seed1", "scale: unknown 'tiny'"),
        ("results/runs/digits/dansm_7/seed1", "digits has no run 'dansm_7'; expected one of"),
        ("results/runs/digits/dansm_100/seed9", "digits dansm_100 declares the seeds"),
    ],
)
def test_train_names_what_is_wrong_with_the_folder(folder, path, message):
    done = run(app, ["train", path])
    assert done.exit_code == 1
    assert message in done.output


def test_summary_prints_means_savings_and_pictures(folder):
    rows = [
        {
            "dataset": "digits",
            "run": name,
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": match_size,
            "times": "uniform",
            "loss": "squared_error",
            "seed": seed,
            "images_seen": images,
            "sampler": "euler",
            "steps": 3,
            "nfe": 3.0,
            "image_set": 0,
            "metric": "frechet_distance",
            "feature_extractor": "classifier",
            "reference": "held_out",
            "n_samples": 10,
            "value": (40.0 if match_size else 80.0) / images + seed,
            "seconds": images / 2,
            "baseline": "vanilla",
        }
        for name, coupling, match_size in (
            ("vanilla", "independent", 0),
            ("dansm_100", "greedy", 100),
        )
        for seed in (0, 1)
        for images in (1, 2, 4)
    ]
    halves = {"run": None, "process": "real_halves", "images_seen": None, "baseline": None}
    rows.append({**rows[0], **halves, "value": 1.25})
    columns = list(COMPARISON_COLUMNS)
    table = pd.DataFrame(rows, columns=columns).astype(COMPARISON_COLUMNS)
    write_table(folder / "results" / "distances_digits.csv", table, COMPARISON_COLUMNS)
    write_table(folder / "results/summary_digits.csv", summarise(table), SUMMARY_COLUMNS)
    write_table(folder / "results/speed_digits.csv", speed_table(table), SPEED_COLUMNS)
    (folder / "results" / "figures").mkdir()
    (folder / "results" / "figures" / "distance_table_digits.png").touch()
    done = run(app, ["summary", "digits"])
    assert done.exit_code == 0, done.output
    vanilla, matched = np.mean([20, 21]), np.mean([10, 11])
    assert f"{vanilla:.1f}" in done.output
    assert f"{matched:.1f}" in done.output
    assert "50 %" in done.output  # 4 images against 2
    assert "real_halves: 1.2" in done.output
    assert "results/figures/distance_table_digits.png" in done.output


def test_summary_of_what_is_not_there_says_so(folder):
    done = run(app, ["summary", "digits"])
    assert done.exit_code == 1
    assert "results/summary_digits.csv: expected a table, found no file" in done.output


def test_help_names_the_commands():
    text = run(app, ["--help"]).output
    for command in ("train", "sample", "export", "evaluate", "match", "plan", "archive", "pages"):
        assert command in text
        assert "Usage" in run(app, [command, "--help"]).output


def test_the_shipped_config_is_what_yaml_reads(folder):
    content = yaml.safe_load((folder / "config" / "config.yaml").read_text())
    expanded = sum(len(entry.get("grid", [entry])) for entry in content["runs"])
    assert len(load_config(folder / "config/config.yaml").runs) == expanded


@pytest.mark.parametrize(
    ("results", "scale"),
    [("results", None), ("/me/results/results", None), ("/me/results/results/smoke", "smoke"),
     ("results/smoke", "smoke"), ("/my results/copy", None)],
)  # fmt: skip
def test_a_results_folder_says_of_which_scale_it_is_wherever_it_lies(results, scale, monkeypatch):
    monkeypatch.chdir(ROOT)
    look, dataset, name, seed = cli._parts(Path(results, "runs/digits/vanilla/seed0"))
    assert (look.config.scale, look.results) == (scale, results)
    assert (dataset, name, seed) == ("digits", "vanilla", 0)


def test_commands_take_more_configuration_as_snakemake_does(folder):
    (folder / "more.yaml").write_text("targets: {demo: [moon]}")
    for command in (
        ["summary", "digits"],
        ["train", "results/runs/digits/vanilla/seed0"],
        ["sample", "results/runs/digits/vanilla/seed0", "a.npz"],
        ["evaluate", "x.npz", "--dataset", "digits"],
        ["plan"],
    ):
        done = run(app, [*command, "--configfile", "more.yaml"])
        assert done.exit_code == 1 and "more.yaml: targets.demo: unknown 'moon'" in done.stderr, (
            done.output
        )
    (folder / "more.yaml").write_text("[moon]")
    done = run(app, ["summary", "digits", "--configfile", "more.yaml"])
    assert done.stderr == "error: more.yaml: expected keys with values, found ['moon']\n"
