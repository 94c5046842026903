"""Pages made from archived results: what they say, and that the repository's are current."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student_t

from dansm.analysis.distances import summarise
from dansm.catalogue import COUPLINGS, SOLVERS
from dansm.errors import InputError
from dansm.io.files import read_json, write_json, write_text
from dansm.io.tables import COMPARISON_COLUMNS, SUMMARY_COLUMNS, read_table, write_table
from dansm.publish import pages
from dansm.publish.archive import REFERENCE, archive
from dansm.publish.pages import figures_page, filled

from ..test_project import ROOT
from .test_report import made

VALUES = {
    ("vanilla", "independent", 0): [20.0, 30.0],
    ("dansm_100", "greedy", 100): [10.0, 11.0],
    ("knn_64", "knn", 64): [5.0, 5.0],
}


@pytest.fixture
def reference(tmp_path, monkeypatch):
    """An archive with distances of three runs over two seeds, and a figure."""
    monkeypatch.chdir(tmp_path)
    results, reference = Path("results"), Path("reference")
    rows = [
        {
            "dataset": "digits",
            "run": run,
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": match_size,
            "times": "uniform",
            "loss": "squared_error",
            "seed": seed,
            "images_seen": images,
            "sampler": "euler",
            "steps": steps,
            "nfe": float(steps),
            "image_set": 0,
            "metric": "frechet_distance",
            "feature_extractor": "classifier",
            "reference": "training",
            "n_samples": 10,
            "value": value * 3 / steps + (64_000 - images),
            "seconds": 1.0,
            "baseline": "vanilla",
        }
        for (run, coupling, match_size), values in VALUES.items()
        for seed, value in enumerate(values)
        for images in (32_000, 64_000)
        for steps in (3, 10)
    ]
    table, figure = results / "summary_digits.csv", results / "figures" / "curves_digits.png"
    distances = results / "distances_digits.csv"
    write_table(distances, rows, COMPARISON_COLUMNS)
    write_table(table, summarise(read_table(distances, COMPARISON_COLUMNS)), SUMMARY_COLUMNS)
    write_text(figure, "a picture")
    made(results, "collect", [], [table], 300)
    made(results, "curves", [], [figure], 300)
    archive([table, figure], results, reference)
    return reference


def section(order, reference, old="typed by hand"):
    text = f"before\n<!-- generated: {order} -->\n{old}\n<!-- end -->\nafter\n"
    new = filled(text, reference)
    begin, end = f"before\n<!-- generated: {order} -->\n", "\n<!-- end -->\nafter\n"
    assert new.startswith(begin) and new.endswith(end)
    assert filled(new, reference) == new
    return new.removeprefix(begin).removesuffix(end)


def test_distances_are_those_of_the_last_snapshot_over_seeds(reference):
    text = section("distances summary_digits.csv training vanilla,dansm_100", reference)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    mean, sd = np.mean([20, 30]), np.std([20, 30], ddof=1)
    half = student_t.ppf(0.975, 1) * sd / np.sqrt(2)
    assert rows[0][-2:] == ["3 steps", "10 steps"]
    cells = [f"{share * mean:.1f} ± {share * half:.1f}" for share in (1, 0.3)]
    assert rows[2] == ["Vanilla", *cells]
    assert rows[3][0] == "Match size 100" and len(rows) == 4
    assert "after 64,000 images" in text and "over 2 seeds and 1 sets" in text
    assert "5 min on AMD, 2 cores" in text and "commit c0ffee0123." in text
    assert "Best of 64" in section("distances summary_digits.csv training", reference)


def test_a_picture_comes_with_what_made_it(reference):
    picture = section("figure figures/curves_digits.png", reference)
    assert picture.startswith(f"![curves_digits]({reference}/figures/curves_digits.png)")
    assert "`snakemake results/figures/curves_digits.png`: 5 min" in picture


def test_the_catalogue_is_shown_as_it_is(reference):
    text = section("couplings", reference)
    assert "| `greedy` | each sample in turn with the nearest noise left in a pool" in text
    assert text.count("\n") == len(COUPLINGS) + 1
    assert text.splitlines()[-1].startswith("| `paired`") and text.endswith("| no |")
    assert f"| `euler` | {SOLVERS['euler'].summary} |" in section("solvers", reference)


def test_a_time_that_was_not_measured_is_not_given(reference):
    index = reference / "run.json"
    entries = read_json(index)
    entries["files"]["figures/curves_digits.png"]["seconds"] = None
    write_json(index, entries)
    picture = section("figure figures/curves_digits.png", reference)
    assert ".png`: AMD, 2 cores; " in picture


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            "distances fid_mnist.csv training",
            "fid_mnist.csv: expected an archived result, found none",
        ),
        ("pie summary_digits.csv", r"generated: pie .*: expected one of \['couplings'"),
        ("couplings greedy", r"generated: couplings greedy: expected one of"),
        ("distances summary_digits.csv training loom", r"expected the runs \['loom'\], found"),
    ],
)
def test_what_cannot_be_generated_is_named(reference, order, message):
    with pytest.raises(InputError, match=message):
        section(order, reference)


def test_a_figures_section_comes_from_its_notebook(reference, monkeypatch):
    def notebook(of, title):
        return SimpleNamespace(of=of, title=title, caption="Distance along training.")

    known = {"curves": notebook("dataset", "Curves"), "curves_digits_b": notebook("nothing", "B")}
    monkeypatch.setattr(pages, "read_notebooks", lambda folder: known)
    page = figures_page(Path("notebooks"), reference)
    curves, other = page.split("\n## ")[1:]
    command = "```\nsnakemake results/figures/curves_digits.png\n```"
    assert curves.startswith(f"Curves\n\nDistance along training.\n\n{command}")
    assert f"![Curves, curves_digits](../{reference}/figures/curves_digits.png)" in curves
    assert "`snakemake results/figures/curves_digits.png`: 5 min" in curves
    assert other == (
        "B\n\nDistance along training.\n\n```\nsnakemake results/figures/curves_digits_b.png\n```\n"
    )


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


def test_what_is_calculated_is_made_from_what_is_archived(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = section("scale matching_cost.csv assumptions", REFERENCE)
    assert "| the GPU | NVIDIA A100 |" in text and "Times: `snakemake results/" in text
    rows = {
        line.split(" | ")[0]: line.strip("| ").split(" | ")
        for line in section("scale matching_cost.csv datasets", REFERENCE).splitlines()
    }
    bedroom = rows["| LSUN Bedroom, latents"]
    assert bedroom[1:3] == ["3,033,042", "4,096"]
    # 3 · 256² and 2 · 4 · 32² bytes of each image.
    assert bedroom[3:5] == ["596 GB", "24.8 GB"]
    asked, hours = section("scale matching_cost.csv imagenet64", REFERENCE).split("\n\n")
    assert "| `greedy`, 10,000 | 0.013 | 0.052 | 492 MB |" in asked  # 4 · 10 000 · 12 288 bytes
    assert "| `semidiscrete`, within classes |" in hours
    assert "within classes" not in section("scale matching_cost.csv bedroom", REFERENCE)
    limits = section("scale matching_cost.csv limits", REFERENCE)
    assert "1,024 / 128 / 16" in limits


@pytest.mark.parametrize("part", ["", " digits"])
def test_another_part_of_what_is_calculated_is_named(monkeypatch, part):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=r"scale .*: expected one of \['assumptions', 'datasets'"):
        section(f"scale matching_cost.csv{part}", REFERENCE)
