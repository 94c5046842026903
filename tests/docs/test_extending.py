"""What docs/extending.md says is done to a copy of the repository, and run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dansm.config import parse_config, read_yaml
from dansm.publish.pages import _CATALOGUE, _KINDS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
CONFIG = "config/config.yaml"
# A file, named where what goes into it begins, or a block of code.
_PARTS = re.compile(
    r"(?:New|In),?\s+`(?P<path>[\w/.]+)`|^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


class Block:
    """A block of code of the page: the section it stands in, the file it is of, and what it is."""

    def __init__(self, section, path, kind, text):
        self.section, self.path, self.kind, self.text = section, path, kind, text

    def apply(self, root):
        """Write the new file, or replace the one place in a file where the block's lines are."""
        file = root / self.path
        if self.kind != "diff":
            assert not file.exists(), f"{file} is not new"
            file.write_text(self.text)
            return
        lines = self.text.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        content = "\n" + file.read_text()
        assert content.count("\n" + old) == 1, f"{self.path} has {content.count(old)} of:\n{old}"
        file.write_text(content.replace("\n" + old, "\n" + new)[1:])


def blocks():
    """Return the page's blocks; commands have no file."""
    found = []
    for section in PAGE.split("\n## ")[1:]:
        path = None
        for part in _PARTS.finditer(section):
            if part["path"]:
                path = part["path"]
            elif part["kind"] or part["text"].startswith("snakemake"):
                found.append(Block(section.splitlines()[0], path, part["kind"], part["text"]))
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the repository's files with all of the page's additions."""
    root = tmp_path_factory.mktemp("extended")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0")[:-1]:
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    for block in blocks():
        if block.kind:
            block.apply(root)
    return root


@pytest.fixture(scope="module")
def results(project):
    """The folder of results after all of the page's commands, in one call."""
    commands = [block.text.split() for block in blocks() if not block.kind]
    options, targets = {tuple(c[: c.index("--")]) for c in commands}, []
    assert options == {("snakemake", "--config", "scale=smoke")}
    for command in commands:
        targets += command[command.index("--") + 1 :]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--config", "scale=smoke", "--", *targets],
        cwd=project,
        env=_environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert all((project / target).exists() for target in targets)
    return project / "results" / "smoke"


def _environment(project):
    own = {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_PROFILE")}
    return own | {"PYTHONPATH": str(project / "src")}


def test_the_page_has_every_kind_of_addition():
    assert {block.section for block in blocks()} == {
        "A dataset",
        "A kind of source",
        "A coupling",
        "A distribution of training times",
        "A loss",
        "A solver with its own grid",
        "A metric, and a claim on it",
        "A second stage",
        "A figure",
    }


def test_an_addition_is_code_an_entry_and_its_name_in_the_config():
    """No other file: each section's blocks are new files, one registry and the config."""
    for section in {block.section for block in blocks()}:
        changed = {b.path for b in blocks() if b.section == section and b.kind == "diff"}
        code = changed - {CONFIG}
        if section == "A kind of source":  # whose options are a model of the configuration's
            code.remove("src/dansm/config/datasets.py")
        assert len(code) <= 1 and all(re.search("registry|catalogue", name) for name in code)
    assert not any(block.path != CONFIG for block in blocks() if block.section == "A second stage")


def test_a_dataset_needs_no_code(tmp_path):
    (tmp_path / "config").mkdir()
    shutil.copyfile(ROOT / CONFIG, tmp_path / CONFIG)
    for block in blocks():
        if block.section == "A dataset":
            block.apply(tmp_path)
    config = parse_config(read_yaml(tmp_path / CONFIG))
    runs = config.runs_of("mnist_small")
    assert [run.coupling.options.get("match_size", 0) for run in runs] == [0, 1000]
    assert config.comparison("mnist_small").is_default


def test_what_is_added_is_trained_sampled_and_measured(results):
    table = pd.read_csv(results / "distances_mine.csv").dropna(subset=["run"])
    chosen = table.drop_duplicates("run").set_index("run")[["coupling", "times", "loss"]]
    assert chosen.loc["brightness"].tolist() == ["brightness", "uniform", "squared_error"]
    assert chosen.loc["rooted"].tolist() == ["independent", "rooted(degree=3.0)", "log_cosh"]
    assert chosen.loc["straight", "coupling"] == "teacher_pairs"
    # Two evaluations in each of three steps.
    assert set(table.loc[table["sampler"] == "ralston_late", "nfe"]) == {6}
    measured = table[table["metric"] == "mean_distance"]
    assert set(measured["run"]) == {"vanilla", "brightness", "rooted", "straight"}
    assert set(measured["sampler"]) >= {"euler", "ralston_late"} and (measured["value"] > 0).all()


def test_a_claim_on_an_added_metric_is_judged(results):
    claims = pd.read_csv(results / "claims_mine.csv").set_index("name")
    claim = claims.loc["brightness_is_nearer"]
    assert "Distance of means" in claim["measure"]
    table = pd.read_csv(results / "distances_mine.csv")
    rows = table[(table["metric"] == "mean_distance") & (table["sampler"] == "euler")]
    values = rows[rows["steps"] == 3].groupby("run")["value"].mean()
    assert claim["value"] == pytest.approx(values["brightness"] / values["vanilla"], rel=0.5)


def test_the_second_stage_has_its_teachers_pairs_and_weights(results):
    (store,) = (results / "pairs" / "digits" / "brightness" / "seed0").iterdir()
    meta = yaml.safe_load((store / "meta.json").read_text())["pairs"]
    assert meta["teacher"]["coupling"] == "brightness" and meta["nfe"] == meta["steps"]
    run = yaml.safe_load((results / "runs/digits/straight/seed0/run.json").read_text())
    assert run["settings"]["start"] == "brightness" and run["pairs_sha256"]


def test_the_page_names_what_there_is(project):
    for name in re.findall(r"`((?:src|workflow|notebooks|config|tests)/[^`*]*)`", PAGE):
        assert (project / name).exists(), name
    # `a`, `b` … have one line.
    lines = re.findall(r"^\| (`\w+.*?) \|", PAGE, flags=re.MULTILINE)
    assert {kind for line in lines for kind in re.findall(r"`(\w+)", line)} == {
        *_KINDS,
        *_CATALOGUE,
    }
