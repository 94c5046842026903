"""The wheel, where nothing is installed but what it asks for."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def required(names: list[str]) -> set[str]:
    """Return names of distributions and of all that they require without extras."""
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            needs = map(Requirement, distribution(name).requires or [])
            names += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """The Python of an environment with the wheel and, by links, what it requires."""
    folder = tmp_path_factory.mktemp("light")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    (packages,) = folder.glob("env/lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    metadata = next(packages.glob("dansm-*.dist-info/METADATA")).read_text(encoding="utf-8")
    base = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata, flags=re.MULTILINE)
    assert sorted(Requirement(r).name for r in base) == ["numpy", "scipy", "torch", "tqdm"]
    for name in required([Requirement(r).name for r in base]):
        one = distribution(name)
        for top in {file.parts[0] for file in one.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(one.locate_file(top)).resolve())
    return folder / "env" / "bin" / "python"


def run(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # From bytecode PyTorch is imported for half the time of a core.
    unwanted = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    clean = {key: value for key, value in os.environ.items() if key not in unwanted}
    return subprocess.run(
        [python, "-c", code, *arguments],
        cwd=python.parent,
        env=clean | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_couplings_processes_and_the_readme_loop_need_no_extra(light):
    (loop,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    code = f"""
import importlib.util
others = ["typer", "pydantic", "pandas", "diffusers", "accelerate", "snakemake", "psutil", "ot"]
assert not any(map(importlib.util.find_spec, others))
import torch
from dansm.couplings import Greedy, fit_potentials, make_coupling
import dansm.catalogue, dansm.geometry, dansm.processes
for entry in (*dansm.catalogue.COUPLINGS.values(), *dansm.catalogue.PROCESSES.values()):
    entry.load()
loader = [torch.rand(4, 3, 8, 8) for _ in range(2)]
{loop}
assert noise.shape == (4, 3, 8, 8) and isinstance(coupling, Greedy)
assert len(fit_potentials(loader[0], seed=0, steps=2).values) == 4
try:
    make_coupling("minibatch_ot", method="sinkhorn")
except ImportError as error:
    print(error)
"""
    done = run(light, code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('found none; pip install "dansm[ot]"\n')


def test_the_command_names_the_extra_that_it_needs(light):
    code = (
        "import sys; from importlib.metadata import entry_points; "
        "(entry,) = entry_points(group='console_scripts', name='dansm'); sys.exit(entry.load()())"
    )
    done = run(light, code, "train", "results/runs/digits/vanilla/seed0")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(
        r'error: dansm needs \w+, found none; pip install "dansm\[workflow\]"\n', done.stderr
    )
