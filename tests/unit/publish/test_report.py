"""The report: what it holds, and that a browser shows it without internet and scripts."""

import json
import re
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from matplotlib.figure import Figure

from dansm.errors import InputError
from dansm.figures.base import save_figure
from dansm.io.files import sha256, write_json, write_text
from dansm.io.records import Content, Record, Records
from dansm.publish import report as module
from dansm.publish.report import TABLES, readable_time, write_report

from ...browser import visit
from ..test_project import ROOT


def made(results, rule, inputs, outputs, seconds=1.0, **more):
    """Write the record of a job that made some files, with digests of those that are there."""
    records = Records(results)
    files = {}
    for path in filter(Path.is_file, outputs):
        stat = path.stat()
        files[records.name(path)] = Content(
            sha256=sha256(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns
        )
    record = {
        "rule": rule,
        "wildcards": {"dataset": "digits"},
        "params": {"batch": 250},
        "inputs": {records.name(path): None for path in inputs},
        "outputs": [records.name(path) for path in outputs],
        "started": "2026-11-20T10:00:00+00:00",
        "finished": "2026-11-20T10:00:01+00:00",
        "seconds": seconds,
        "files": files,
        "commit": "c0ffee0123456789",
        "uncommitted_changes": False,
        "versions": {"torch": "2.7"},
        "hardware": {"device": "cpu", "processor": "AMD", "cpus": 2},
        **more,
    }
    text = Record(**record).model_dump_json()
    write_text(results / "jobs" / rule / f"{Path(outputs[0]).stem}.json", text)


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A results folder with a run, a table and a figure, and the notebook that drew it."""
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    table, run = results / "distances_digits.csv", results / "runs" / "seed0" / "run.json"
    write_text(table, "coupling,value\ngreedy,12.5\n<b>bold</b>,\n")
    write_json(run, {"settings": {"seed": 0}})
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    stem = results / "figures" / "curves_digits"
    save_figure(figure, stem)
    write_text(stem.with_suffix(".ipynb"), "{}")
    figures = [stem.with_suffix(suffix) for suffix in (".pdf", ".png", ".ipynb")]
    made(results, "train", [], [run], 7200)
    made(results, "table", [run], [table], 2)
    made(results, "figure", [Path("notebooks/curves.ipynb"), table], figures, 3)
    caption = SimpleNamespace(caption="Distances *along* training; <script>x</script>")
    monkeypatch.setattr(module, "read_notebooks", lambda folder: {"curves": caption})
    return results, [table, *figures]


def report(finished):
    results, files = finished
    config = {"datasets": {"digits": {"shape": [1, 8, 8]}}, "scale": None}
    write_report(files, results, config, Path("report.zip"))
    return Path("report.zip")


def test_it_holds_every_figure_table_caption_runtime_and_the_configuration(finished):
    results, files = finished
    with zipfile.ZipFile(report(finished)) as zipped:
        content = {name.removeprefix("report/"): zipped.read(name) for name in zipped.namelist()}
    for path in files:
        assert content[path.relative_to(results).as_posix()] == path.read_bytes()
    assert json.loads(content["runs/seed0/run.json"]) == {"settings": {"seed": 0}}
    config = yaml.safe_load(content["config.yaml"])
    assert config == {"datasets": {"digits": {"shape": [1, 8, 8]}}, "scale": None}
    index = content["index.html"].decode()
    assert "<p>Distances <em>along</em> training; &lt;script&gt;" in index
    assert f"<p>{TABLES['distances_'].partition('`')[0]}<code>nfe</code>" in index
    assert "Easing Training Process of Rectified Flow" in index
    assert "<td>train</td><td>1</td><td>2.0 h</td><td>2.0 h</td>" in index
    assert "2.0 h in 3 jobs" in index and "2.0 h in 2 jobs" in index
    assert "commit c0ffee0123." in index and '"torch": "2.7"' in index.replace("&#34;", '"')
    page = content["tables/distances_digits.html"].decode()
    cells = re.findall(r"<td>(.*?)</td>", page)
    assert cells == ["greedy", "12.5", "&lt;b&gt;bold&lt;/b&gt;", ""]


def test_the_same_results_give_the_same_bytes(finished):
    first = report(finished).read_bytes()
    assert report(finished).read_bytes() == first


def test_what_nothing_is_known_of_is_refused(finished):
    results, files = finished
    other = results / "other_digits.csv"
    write_text(other, "x\n1\n")
    made(results, "other", [], [other])
    with pytest.raises(InputError, match=r"other_digits.csv: expected one of the tables"):
        write_report([other], results, {}, Path("report.zip"))
    files[1].with_suffix(".ipynb").unlink()
    with pytest.raises(InputError, match=r"curves_digits.ipynb: expected a result, found none"):
        report(finished)
    shutil.rmtree(results / "jobs")
    with pytest.raises(InputError, match="expected the record of the job that made it"):
        report(finished)


def test_a_browser_shows_every_figure_and_table_with_nothing_from_outside(finished, tmp_path):
    with zipfile.ZipFile(report(finished)) as zipped:
        zipped.extractall(tmp_path / "shown")
    pages = sorted((tmp_path / "shown").rglob("*.html"))
    assert len(pages) == 2
    visited = visit(pages)
    for page, seen in visited.items():
        assert seen.errors == [], page
        assert seen.outside == [], page
    index = visited[tmp_path / "shown" / "report" / "index.html"]
    assert [(name, visible) for name, visible in index.images] == [("curves_digits", True)]
    assert index.broken_links == []


def test_a_browser_tells_what_is_wrong(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<title>bad</title><img src='missing.png' alt='a'><a href='nowhere.html'>b</a>"
        "<script>undefined_name()</script><script src='http://127.0.0.1:9/x.js'></script>"
    )
    seen = visit([page])[page]
    assert any("undefined_name" in error for error in seen.errors)
    assert seen.outside == ["http://127.0.0.1:9/x.js"]
    assert seen.images == [("a", False)]
    assert seen.broken_links == ["nowhere.html"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations_are_readable(seconds, text):
    assert readable_time(seconds) == text


def test_every_table_of_the_workflow_has_a_caption():
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    tables = set(re.findall(r"\{RESULTS\}/(\w+?)(?:\{\{\w+\}\})?\.csv\"", rules))
    assert {"distances_", "memorising_", "straightness"} <= tables
    assert tables == set(TABLES)
