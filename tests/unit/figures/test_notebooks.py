"""Notebooks say what they read, and run as they are from the root on what is archived."""

import json
from pathlib import Path

import pytest

from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks

ROOT = Path(__file__).parents[3]
NOTEBOOKS = read_notebooks(ROOT / "notebooks")
SAID = {"of": "comparison", "tables": {"speed": "speed_{comparison}.csv"}}
DEFAULTS = 'speed = "a"\nsubject = "b"\noutput = "c"\n'


def write(folder, said, first="# Saving\n\nWhat it shows.", defaults=DEFAULTS, kind="markdown"):
    cells = [
        {"cell_type": kind, "metadata": {}, "source": first.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": [defaults]},
    ]
    content = {"cells": cells, "metadata": {"dansm": said}}
    (folder / "saving.ipynb").write_text(json.dumps(content))
    return folder


def test_a_notebook_says_what_it_reads_and_shows(tmp_path):
    (found,) = read_notebooks(write(tmp_path, SAID)).values()
    assert (found.name, found.of, found.samples) == ("saving", "comparison", False)
    assert found.tables == {"speed": "speed_{comparison}.csv"} and found.optional == {}
    assert (found.title, found.caption) == ("Saving", "What it shows.")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, r"metadata\.dansm\.of: .* required"),
        ({**SAID, "of": "run"}, r"metadata\.dansm\.of: .*'comparison'"),
        ({**SAID, "table": {}}, r"metadata\.dansm\.table: .* not permitted"),
        ({**SAID, "of": "dataset"}, r"no braces but \{dataset\}.*speed_\{comparison\}"),
        ({**SAID, "samples": "all"}, r"metadata\.dansm\.samples: .* boolean"),
        ({"of": "dataset", "samples": True}, "samples are of a comparison, found .* dataset"),
        ({**SAID, "tables": ["speed.csv"]}, r"metadata\.dansm\.tables: .* dictionary"),
        ({**SAID, "optional": {"more": "more.csv"}}, r"defaults.*'more'.*found \['output'"),
    ],
)
def test_a_notebook_that_says_something_else_is_named(tmp_path, said, message):
    with pytest.raises(InputError, match=rf"saving\.ipynb: .*{message}"):
        read_notebooks(write(tmp_path, said))


@pytest.mark.parametrize(
    "changes", [{"first": "# Saving"}, {"first": "What it shows."}, {"kind": "code"}]
)
def test_a_notebook_without_a_caption_is_named(tmp_path, changes):
    with pytest.raises(InputError, match=r"saving\.ipynb: expected a heading and a caption"):
        read_notebooks(write(tmp_path, SAID, **changes))


def test_what_is_no_notebook_is_named(tmp_path):
    (tmp_path / "saving.ipynb").write_text("{")
    with pytest.raises(InputError, match=r"saving\.ipynb: expected a notebook"):
        read_notebooks(tmp_path)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Execute a notebook's code without a kernel; what it draws is coarse, which is faster."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(
        "dansm.figures.base.save_figure", lambda figure, stem: figure.savefig(f"{stem}.png", dpi=30)
    )

    def run_notebook(name, **parameters):
        scope = {}
        for cell in json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]:
            if cell["cell_type"] == "code":
                exec("".join(cell["source"]), scope)
            if "parameters" in cell["metadata"].get("tags", []):
                scope |= parameters | {"output": str(tmp_path / name)}
        return (tmp_path / f"{name}.png").read_bytes()

    return run_notebook


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_draws_the_archive_by_default(name, run):
    assert run(name).startswith(b"\x89PNG")


def test_what_couplings_cost_is_drawn_where_it_is_known(run):
    known = run("comparison", marginals="results/reference/coupling_marginals.csv")
    assert known != run("comparison")
