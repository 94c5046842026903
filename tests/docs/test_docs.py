"""The site builds, and no link of it is dead; the pages on couplings do what they say."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
import torch

from dansm import couplings, geometry
from dansm.randomness import generator

from ..browser import visit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "couplings.md").read_text()


class Page(HTMLParser):
    """What a page of the site leads to, the anchors that it has, and its text."""

    def __init__(self, path):
        super().__init__()
        self.targets, self.anchors, self.text = set(), set(), path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.anchors |= {named[key] for key in ("id", "name") if named.get(key)}
        self.targets |= {named[key] for key in ("href", "src") if named.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that `make docs` builds, strictly: any warning is an error."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    variables = (f"SITE={folder}", f"BIN={Path(sys.executable).parent}")
    done = subprocess.run(
        ["make", "docs", "--old-file=.venv/installed", *variables],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stderr
    assert f"{folder}/index.html" in done.stdout
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_link_and_picture_of_the_site_leads_somewhere(site, pages):
    """Without a server; links to elsewhere in the world are left alone."""
    for path, page in pages.items():
        if path.name == "404.html":  # served from any depth
            continue
        for target in page.targets:
            parts = urlparse(target)
            if parts.scheme in ("https", "data", "mailto") or parts.netloc:
                continue
            place = path.parent / unquote(parts.path) if parts.path else path
            assert place.resolve().is_file(), f"{path.relative_to(site)}: {target}"
            if parts.fragment and place.suffix == ".html":
                anchors = pages[place.resolve()].anchors
                assert unquote(parts.fragment) in anchors, f"{path.relative_to(site)}: {target}"


def test_the_site_has_every_page_and_every_room_of_the_library(site, pages):
    names = {path.relative_to(site).as_posix() for path in pages}
    rooms = re.findall(r"``(\w+)``", (ROOT / "src/dansm/__init__.py").read_text())
    assert {f"api/{room}.html" for room in rooms} <= names
    written = {path.stem for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")}
    outside = {"index", "configuration", "contributing", "changelog"}
    assert {f"{name}.html" for name in written | outside} <= names
    start = pages[site / "index.html"]
    assert {f"{name}.html" for name in written} <= start.targets  # by the navigation at least
    shown = [target for target in start.targets if target.startswith("results/reference/figures/")]
    assert shown  # a picture first


def test_the_site_opens_without_a_server_a_script_error_or_internet(site):
    shown = [site / f"{name}.html" for name in ("index", "tutorial", "figures", "api/couplings")]
    for page, seen in visit(shown).items():
        assert seen.errors == [] and seen.outside == [], page
        assert all(visible for _, visible in seen.images), page
        assert page.name == "couplings.html" or seen.images, page


def test_every_public_name_of_the_couplings_has_an_entry(site, pages):
    found = {anchor.split(".")[-1] for anchor in pages[site / "api/couplings.html"].anchors}
    assert set(couplings.__all__) <= found
    assert {entry.load().__name__ for entry in couplings.COUPLINGS.values()} <= found
    anchors = pages[site / "api/couplings.html"].anchors
    for name in ("OnlineCoupling.match", "Hungarian.pairs", "Coupling.load_state_dict"):
        assert any(anchor.endswith(f".{name}") for anchor in anchors), name


def test_every_function_of_geometry_has_an_entry(site, pages):
    public = {
        f"dansm.geometry.{name}"
        for name, value in vars(geometry).items()
        if getattr(value, "__module__", None) == "dansm.geometry" and not name.startswith("_")
    }
    assert len(public) > 3 and public <= pages[site / "api/geometry.html"].anchors


def test_the_tutorial_runs_and_shows_what_it_says(monkeypatch, capsys):
    """With fewer steps: paths are shorter, and both models make images of three steps."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    assert "steps = 2000" in code and "noise = coupling.match(images)" in code
    scope = {}
    exec(code.replace("steps = 2000", "steps = 5"), scope)
    printed = capsys.readouterr().out
    (lengths,) = re.findall(r"10,000: ([\d.]+), at random ([\d.]+)", printed)
    assert float(lengths[0]) < 0.8 * float(lengths[1])
    assert [images.shape for images in scope["images"].values()] == [(10, 1, 8, 8)] * 3
    shown = [output for cell in cells for output in cell["outputs"]]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    kept = "".join("".join(output.get("text", "")) for output in shown)
    assert printed.splitlines()[:3] == kept.splitlines()[:3]  # the lengths are still those


def test_the_graph_of_rules_shows_rules_that_there_are():
    text = (ROOT / "docs" / "rules.svg").read_text()
    shown = set(re.findall(r"<title>(\w+)</title>", text)) - {"rules"}
    files = (ROOT / "workflow").rglob("*.smk")
    there = {
        name
        for path in files
        for name in re.findall(r"^rule (\w+):|^use rule \w+ as (\w+)", path.read_text(), re.M)
        for name in name
    }
    assert shown <= there and len(shown) > 20
    for edge in re.findall(r"<title>(\w+)&#45;&gt;(\w+)</title>", text):
        assert set(edge) <= shown


def test_the_readme_is_short_and_begins_with_a_picture_and_two_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    assert text.index("![") < text.index("make demo\nmake test") < text.index("## What one sees")
    for name in re.findall(r"\]\(((?!http)[^)#]+)\)", text):
        assert (ROOT / name).exists(), name


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


PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("CONTRIBUTING.md",))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target
