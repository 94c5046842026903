"""Files that must agree with each other: dependencies, lock, environment, schema, Makefile."""

import ast
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dansm.config import load_config, parse_config, read_yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, flags=re.MULTILINE)
EXTRAS = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
DECLARED = [one for one in (*PROJECT["dependencies"], *EXTRAS) if not one.startswith("dansm[")]


@pytest.mark.parametrize("declared", DECLARED)
def test_the_lock_pins_every_dependency_within_its_range(declared):
    requirement = Requirement(declared)
    versions = [version for name, version in PINS if name == requirement.name]
    assert versions, f"{requirement.name} is not in requirements.lock"
    assert all(version in requirement.specifier for version in versions)


def test_the_lock_has_hashes_and_no_addresses():
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK, flags=re.MULTILINE)
    pins = [block for block in blocks if "==" in block.split("\n")[0]]
    assert len(pins) == len(PINS) > 50
    assert all("--hash=sha256:" in block for block in pins)
    assert "://" not in LOCK


def test_conda_users_get_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *packages, pip = environment["dependencies"]
    python = next(package for package in packages if package.startswith("python "))
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == {"pip": ["-r requirements.lock"]}


def test_snakemake_and_containers_get_the_same_versions():
    by_hand = yaml.safe_load((ROOT / "environment.yml").read_text())
    rules = yaml.safe_load((ROOT / "workflow" / "envs" / "dansm.yml").read_text())
    assert rules["channels"] == by_hand["channels"]
    assert rules["dependencies"] == by_hand["dependencies"][:-1]
    script = (ROOT / "workflow" / "envs" / "dansm.post-deploy.sh").read_text()
    digest = hashlib.sha256(LOCK.encode()).hexdigest()
    assert digest in script, (
        f"workflow/envs/dansm.post-deploy.sh: expected the lock's sum, {digest}"
    )
    assert "pip install --require-hashes -r requirements.lock" in script
    image = (ROOT / "workflow" / "envs" / "dansm.def").read_text()
    assert "requirements.lock /opt/requirements.lock" in image
    python_of_debian = {"bookworm": "3.11"}[re.search(r"From: debian:(\w+)-slim", image)[1]]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python_of_debian)


def test_the_shipped_config_holds_the_demo_and_the_paper():
    config = load_config(ROOT / "config" / "config.yaml")
    assert config.targets["demo"] == ["digits_demo"]
    for dataset in ("digits", "cifar10", "bedroom"):
        compared = {
            (run.process.name, run.coupling.options.get("match_size", 0))
            for run in config.compared(dataset)
        }
        assert compared == {
            (process, size)
            for process in ("rectified_flow", "diffusion")
            for size in (0, 100, 1000, 10_000)
        }


def test_the_makefile_has_the_entries_of_the_readme():
    makefile = (ROOT / "Makefile").read_text()
    entries = re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE)
    assert entries == ["demo", "test", "gpu", "docs", "lint", "clean"]
    assert {f"make {entry}" for entry in ("demo", "test")} <= set(
        (ROOT / "README.md").read_text().splitlines()
    )


LIBRARY = ROOT / "src" / "dansm"


def imports_of(path):
    """What a module imports of ours, wherever it does, as dotted names below dansm."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "dansm":
            yield from (".".join([*node.module.split(".")[1:], alias.name]) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            yield from (".".join(parts[1:]) for parts in names if parts[0] == "dansm")


def test_rooms_import_only_from_those_before_them():
    order = re.findall(r"``(\w+)``", (LIBRARY / "__init__.py").read_text())
    paths = [path for path in LIBRARY.rglob("*.py") if path not in OUTSIDE]
    rooms = {path.relative_to(LIBRARY).parts[0].removesuffix(".py") for path in paths}
    assert rooms == set(order)
    late = [
        f"{path.relative_to(LIBRARY)} imports {name}"
        for path in paths
        for name in imports_of(path)
        if order.index(name.split(".")[0])
        > order.index(path.relative_to(LIBRARY).parts[0].removesuffix(".py"))
    ]
    assert late == []


OUTSIDE = {LIBRARY / "__init__.py", LIBRARY / "__main__.py"}


@pytest.mark.parametrize(
    ("room", "allowed"),
    [
        ("couplings", {"couplings", "randomness"}),
        ("processes", {"processes", "couplings", "randomness", "errors"}),
    ],
)
def test_what_stands_alone_imports_nothing_else_of_ours(room, allowed):
    for path in (LIBRARY / room).rglob("*.py"):
        assert {name.split(".")[0] for name in imports_of(path)} <= allowed, path


@pytest.mark.parametrize(
    "module",
    [
        "catalogue",
        "config",
        "figures.distances",
        "analysis.claims",
        "publish.report",
        "publish.pages",
        "workflow.lookups",
        "workflow.jobs",
        "io.records",
    ],
)
def test_what_reads_names_and_results_only_does_not_wait_for_torch(module):
    """Torch and diffusers take 8 s of a core to import, several times what a figure takes."""
    code = (
        f"import sys, dansm.{module}; sys.exit(bool({{'torch', 'scipy.stats'}} & set(sys.modules)))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        check=True,
    )


def test_a_dataset_of_ones_own_is_one_entry():
    page = (ROOT / "docs" / "datasets.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    own = yaml.safe_load(example)
    (name,) = own["datasets"]
    content = read_yaml(ROOT / "config" / "config.yaml")
    content["datasets"] |= own["datasets"]
    content["runs"] += own["runs"]
    runs = parse_config(content).runs_of(name)
    assert [run.coupling.options.get("match_size", 0) for run in runs] == [0, 10_000]
    assert f"snakemake results/fid_{name}.csv" in page


def test_reading_lsun_can_be_measured():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "read_lsun.py", "--count", "3", "--rounds", "1"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rates = re.findall(r"^(LMDB), .* (\d+) images/s .*ratio ([\d.]+)$", done.stdout, re.M)
    rates += re.findall(r"^(PNG) files.* (\d+) images/s .*ratio (1\.00)$", done.stdout, re.M)
    assert sorted(name for name, _, _ in rates) == ["LMDB", "LMDB", "PNG"]


def test_training_steps_can_be_measured():
    path = ROOT / "benchmarks" / "train_step.py"
    spec = importlib.util.spec_from_file_location("train_step", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    ways = benchmark.ways(bf16=True, compiled=True)
    assert len(ways) == 8 and next(iter(ways)) == "fp32"
    assert list(benchmark.ways(bf16=False, compiled=False)) == ["fp32", "fp32, channels last"]
    config = load_config(ROOT / "config" / "config.yaml")
    settings = config.run_settings(config.run("digits", "vanilla"), seed=0)
    small = settings.model_copy(update={"batch_size": 4} | ways["fp32, channels last"])
    found = benchmark.measure(small, steps=1, rounds=2, threads=1)
    assert found.first > 0 and len(found.seconds) == 2 and min(found.seconds) > 0
    assert found.memory > 2**20


def test_the_readme_loop_runs():
    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    seen = {"loader": [torch.rand(4, 3, 8, 8) for _ in range(2)]}
    exec(code, seen)
    assert seen["noise"].shape == (4, 3, 8, 8)
    assert set(seen["coupling"].state_dict()) == {"name", "match_size", "seed", "progress"}
