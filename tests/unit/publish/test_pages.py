"""Pages made from archived results: what they say, and that the repository's are current."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student_t

from dansm.errors import InputError
from dansm.io.files import read_json, write_json, write_text
from dansm.io.tables import COLUMNS, write_table
from dansm.publish import pages
from dansm.publish.archive import REFERENCE, archive
from dansm.publish.pages import figures_page, filled

from ..test_project import ROOT
from .test_report import job

VALUES = {("independent", 0): [20.0, 30.0], ("greedy", 100): [10.0, 11.0], ("knn", 64): [5.0, 5.0]}


@pytest.fixture
def reference(tmp_path):
    """An archive with distances of three couplings over two seeds, claims and a figure."""
    results, reference = tmp_path / "results", tmp_path / "reference"
    rows = [
        {
            "dataset": "digits",
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": match_size,
            "seed": seed,
            "images_seen": images,
            "sampler": "euler",
            "steps": steps,
            "nfe": float(steps),
            "seed_range": 0,
            "metric": "frechet_distance",
            "feature_extractor": "digit_classifier",
            "n_samples": 10,
            "value": value * 3 / steps + (64_000 - images),
        }
        for (coupling, match_size), values in VALUES.items()
        for seed, value in enumerate(values)
        for images in (32_000, 64_000)
        for steps in (3, 10)
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    write_table(results / "fid_digits.csv", table)
    write_text(results / "claims_digits.csv", "claim,verdict,low\nfaster,supported,\n")
    figure = results / "figures" / "curves_digits.png"
    write_text(figure, "a picture")
    run = job("x", [], [], 300, hardware={"device": "cpu", "processor": "AMD", "cpus": 2})
    files = [results / "fid_digits.csv", results / "claims_digits.csv", figure]
    archive(files, results, reference, run, "snakemake demo")
    return reference


def section(order, reference, old="typed by hand"):
    text = f"before\n<!-- generated: {order} -->\n{old}\n<!-- end -->\nafter\n"
    new = filled(text, reference)
    begin, end = f"before\n<!-- generated: {order} -->\n", "\n<!-- end -->\nafter\n"
    assert new.startswith(begin) and new.endswith(end)
    assert filled(new, reference) == new
    return new.removeprefix(begin).removesuffix(end)


def test_distances_are_those_of_the_last_snapshot_over_seeds(reference):
    text = section("distances fid_digits.csv", reference)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    mean, sd = np.mean([20, 30]), np.std([20, 30], ddof=1)
    half = student_t.ppf(0.975, 1) * sd / np.sqrt(2)
    assert rows[0][-2:] == ["3 steps", "10 steps"]
    cells = [f"{share * mean:.1f} ± {share * half:.1f}" for share in (1, 0.3)]
    assert rows[2] == ["Vanilla", *cells]
    assert rows[3][0] == "Match size 100" and len(rows) == 4
    assert "after 64,000 images" in text and "over 2 seeds" in text
    assert "5 min on AMD, 2 cores" in text and "commit c0ffee0123." in text
    assert "knn" in section("couplings fid_digits.csv", reference)


def test_other_sections(reference):
    rows = section("rows claims_digits.csv claim,low,verdict", reference).splitlines()
    assert rows == ["| claim | low | verdict |", "| --- | --- | --- |", "| faster |  | supported |"]
    picture = section("figure figures/curves_digits.png", reference)
    assert picture.startswith(f"![curves_digits]({reference}/figures/curves_digits.png)")
    assert "`snakemake demo`: 5 min" in picture


def test_a_time_that_was_not_measured_is_not_given(reference):
    index = reference / "run.json"
    entries = read_json(index)
    entries["files"]["figures/curves_digits.png"]["seconds"] = None
    write_json(index, entries)
    picture = section("figure figures/curves_digits.png", reference)
    assert "`snakemake demo`: AMD, 2 cores; " in picture


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ("distances fid_mnist.csv", "fid_mnist.csv: expected an archived result, found none"),
        ("pie fid_digits.csv", r"generated: pie .*: expected one of \['couplings'"),
        ("rows claims_digits.csv claim,value", r"expected columns \['value'\], found"),
    ],
)
def test_what_cannot_be_generated_is_named(reference, order, message):
    with pytest.raises(InputError, match=message):
        section(order, reference)


def notebook(path, *cells, tags=("parameters",)):
    kinds = ["markdown", *["code"] * (len(cells) - 1)]
    content = [
        {"cell_type": kind, "metadata": {"tags": list(tags) if n == 1 else []}, "source": [text]}
        for n, (kind, text) in enumerate(zip(kinds, cells, strict=True))
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": content}))


def test_a_figures_section_comes_from_its_notebook(tmp_path, reference):
    folder = tmp_path / "notebooks"
    output = 'output = "results/figures/curves_digits"\n'
    notebook(folder / "curves.ipynb", "# Curves\n\nDistance along training.", f"x = 1\n{output}")
    page = figures_page(folder, reference)
    expected = (
        "## Curves\n\nDistance along training.\n\n```\nsnakemake results/figures/curves_digits"
    )
    assert f"{expected}.png\n```" in page
    assert f"![Curves, curves_digits]({reference}/figures/curves_digits.png)" in page
    assert "`snakemake demo`: 5 min" in page
    notebook(folder / "bad.ipynb", "no title", output)
    with pytest.raises(InputError, match=r"bad.ipynb: expected a title, what it shows and"):
        figures_page(folder, reference)


def test_the_repositorys_pages_are_current(monkeypatch):
    monkeypatch.chdir(ROOT)
    for path, text in pages.pages(REFERENCE).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run `dansm pages`"


def test_every_notebook_has_its_section_and_every_picture_its_file():
    page = (ROOT / "docs" / "figures.md").read_text()
    assert page.count("\n## ") == len(list((ROOT / "notebooks").glob("*.ipynb")))
    readme = (ROOT / "README.md").read_text()
    for text, folder in ((page, ROOT / "docs"), (readme, ROOT)):
        for target in re.findall(r"!\[.*?\]\((.+?)\)", text):
            assert (folder / target).is_file(), target
