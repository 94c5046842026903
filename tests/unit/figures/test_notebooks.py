"""Notebooks say what they read, and run as they are from the root on what is archived."""

import json
import re
from pathlib import Path

import matplotlib
import pytest

from dansm.errors import InputError
from dansm.figures import base
from dansm.figures.best_of_k import best_of_k
from dansm.figures.notebooks import execute_notebook, read_notebooks
from dansm.io.tables import BEST_OF_K_COLUMNS, read_table

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
        ({"of": "dataset", "samples": True}, "samples: expected of a comparison, found .* dataset"),
        ({**SAID, "tables": ["speed.csv"]}, r"metadata\.dansm\.tables: .* object"),
        ({**SAID, "optional": {"more": "more.csv"}}, r"defaults.*'more'.*found 1 with \['output'"),
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


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "all of it"),
        ("null", "all of it"),
        ("[]", "all of it"),
        ('{"cells": [], "metadata": {}}', r"metadata\.dansm"),
        ('{"cells": [1], "metadata": {"dansm": {"of": "nothing"}}}', r"cells\.0"),
        ('{"cells": [], "metadata": {"dansm": {"of": "nothing"}}}', "heading"),
        ("\xff", "all of it"),
    ],
)
def test_what_is_no_notebook_is_named(tmp_path, text, named):
    (tmp_path / "saving.ipynb").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"saving\.ipynb: .*{named}"):
        read_notebooks(tmp_path)


def test_defaults_that_are_no_python_are_named(tmp_path):
    with pytest.raises(InputError, match=r"defaults of \['output', 'speed', 'subject'\]"):
        read_notebooks(write(tmp_path, SAID, defaults='speed = "'))


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
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    for table in re.findall(r"results/reference/[\w/.]+", text):
        if not (ROOT / table).exists():
            pytest.skip(f"{table} is not archived yet")
    assert run(name).startswith(b"\x89PNG")


def test_what_couplings_cost_is_drawn_where_it_is_known(run):
    known = run("comparison", marginals="results/reference/coupling_marginals.csv")
    assert known != run("comparison")


def test_what_the_user_has_set_up_does_not_reach_a_figure(tmp_path, monkeypatch):
    """Nor does a home folder that is closed stand in the way."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_cachedir())  # its list of fonts takes long
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/dev/null/closed")
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    for folder in (startup, kernel):
        folder.mkdir(parents=True)
    spoil = "import dansm.figures.base; dansm.figures.base.style = None; 1 / 0"
    (startup / "0.py").write_text(spoil)
    (tmp_path / "startup.py").write_text(spoil)
    (kernel / "kernel.json").write_text('{"argv": ["false"], "display_name": "a", "language": "a"}')
    (tmp_path / "matplotlibrc").write_text("text.color: white\ntext.usetex: True\nlines.marker: x")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    for name in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{name}_DIR", str(tmp_path / "jupyter"))
    table = "results/reference/best_of_k.csv"
    parameters = {"table": table, "output": str(tmp_path / "found")}
    execute_notebook(ROOT / "notebooks/best_of_k.ipynb", tmp_path / "done.ipynb", parameters)
    base.save_figure(best_of_k(read_table(table, BEST_OF_K_COLUMNS)), tmp_path / "expected")
    assert (tmp_path / "found.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert "1 / 0" not in (tmp_path / "done.ipynb").read_text()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
