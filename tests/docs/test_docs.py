"""The reference builds and is complete; the page on couplings does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dansm import couplings, geometry
from dansm.randomness import generator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "couplings.md").read_text()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The folder that `make docs` builds."""
    folder = tmp_path_factory.mktemp("docs") / "api"
    variables = (f"API={folder}", f"BIN={Path(sys.executable).parent}")
    done = subprocess.run(
        ["make", "docs", "--old-file=.venv/installed", *variables],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Warn" not in done.stderr, done.stderr
    assert f"{folder}/index.html" in done.stdout
    return folder


def entries(page):
    return set(re.findall(r' id="([\w.]+)"', page.read_text()))


def test_the_reference_starts_with_an_overview_that_leads_to_the_couplings(api):
    assert "url=./dansm.html" in (api / "index.html").read_text()
    start = (api / "dansm.html").read_text()
    assert 'href="dansm/couplings.html"' in start and 'href="dansm/geometry.html"' in start


def test_every_public_name_of_the_couplings_has_an_entry(api):
    found = entries(api / "dansm" / "couplings.html")
    assert set(couplings.__all__) <= found
    assert {entry.load().__name__ for entry in couplings.COUPLINGS.values()} <= found
    for name in ("OnlineCoupling.match", "Hungarian.pairs", "Coupling.load_state_dict"):
        assert name in found


def test_every_function_of_geometry_has_an_entry(api):
    public = {
        name
        for name, value in vars(geometry).items()
        if getattr(value, "__module__", None) == "dansm.geometry" and not name.startswith("_")
    }
    assert len(public) > 3 and public <= entries(api / "dansm" / "geometry.html")


def test_the_page_names_every_coupling():
    table = PAGE.split("## Which coupling when")[1].split("\n## ")[0]
    for name, entry in couplings.COUPLINGS.items():
        assert f"`{name}`" in table
        assert f"`{name}`" in PAGE.split("## Cost")[1] or "noise" in entry.needs


def test_the_pages_code_runs_and_its_own_coupling_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec("\n".join(blocks), names)
    images = names["images"]
    drawn = torch.randn(images.shape, generator=generator(0, "noise", 0))
    # The brightest sample has the brightest noise, and so on down.
    by_sample = names["noise"][images.flatten(1).mean(dim=1).argsort()]
    assert torch.equal(by_sample, drawn[drawn.flatten(1).mean(dim=1).argsort()])
    assert isinstance(names["mine"], couplings.OnlineCoupling)
    other = names["Brightness"](seed=0)
    other.load_state_dict(names["mine"].state_dict())
    assert torch.equal(other.match(images), names["mine"].match(images))
    with pytest.raises(ValueError, match="state of another coupling"):
        names["Brightness"](seed=1).load_state_dict(other.state_dict())


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (ROOT / "docs" / target).exists(), target
