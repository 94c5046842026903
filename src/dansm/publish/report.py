"""A report of results as pages that need neither internet nor scripts, in one zip."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import yaml
from docutils.core import publish_parts
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.provenance import PROVENANCE
from dansm.workflow.jobs import jobs_behind, read_records

_PAGES = Environment(
    loader=PackageLoader("dansm.publish"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def write_report(
    files: Iterable[Path],
    results: Path,
    config: Mapping[str, Any],
    captions: Mapping[str, Path],
    introduction: Path,
    path: Path,
) -> None:
    """Write a zip whose ``report/index.html`` shows figures and tables and says how they were made.

    Parameters
    ----------
    files
        Results: a PNG is shown with its PDF and notebook beside it, a CSV has a page of its own.
    results
        The folder that they are in.
    config
        The resolved configuration.
    captions
        Files in reStructuredText, as Snakemake's captions are, by rule.
    introduction
        A file of the same kind for the report's beginning.
    path
        The zip.

    Raises
    ------
    InputError
        If a file is missing, or no job's record or no caption is known of it.
    """
    records = read_records(results)
    content: dict[str, bytes] = {}
    figures, tables = [], []
    behind: list[dict[str, Any]] = []
    for file in map(Path, files):
        if file.suffix not in (".png", ".csv"):
            continue
        jobs = jobs_behind(str(file), records)
        if not jobs:
            raise InputError(f"{file}: expected the record of the job that made it, found none")
        behind += [job for job in jobs if job not in behind]
        item = _item(file, results, jobs, captions)
        if file.suffix == ".png":
            figures.append(item)
            also = [file.with_suffix(suffix) for suffix in (".png", ".pdf", ".ipynb")]
        else:
            tables.append(item)
            also = [file]
            table = pd.read_csv(file, dtype="string", keep_default_na=False)
            item["rows"], item["page"] = f"{len(table):,}", f"tables/{item['name']}.html"
            html = table.to_html(index=False, border=0)
            content[item["page"]] = _page("table.html", title=item["name"], table=html)
        for one in also:
            name = one.relative_to(results).as_posix()
            content[name] = _read(one)
            item["files"].append(name)
    runs = [Path(name) for job in behind for name in job["outputs"] if name.endswith("run.json")]
    content |= {run.relative_to(results).as_posix(): _read(run) for run in runs}
    content["config.yaml"] = yaml.safe_dump(dict(config), sort_keys=False, width=100).encode()
    content["index.html"] = _page(
        "report.html",
        title="DANSM: figures and tables",
        introduction=_html(introduction.read_text(encoding="utf-8")),
        figures=figures,
        tables=tables,
        runtimes=_runtimes(behind),
        runs=[run.relative_to(results).as_posix() for run in runs],
        config=content["config.yaml"].decode(),
        provenance=_provenance(behind),
    )
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as zipped:
        for name, data in sorted(content.items()):
            # Without the time of writing: the same report has the same bytes.
            zipped.writestr(zipfile.ZipInfo(f"report/{name}"), data, zipfile.ZIP_DEFLATED)


def readable_time(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _item(
    file: Path, results: Path, jobs: list[dict[str, Any]], captions: Mapping[str, Path]
) -> dict[str, Any]:
    job = jobs[0]
    if job["rule"] not in captions:
        raise InputError(f"{file}: expected a caption of the rule {job['rule']}, found none")
    caption = Template(
        Path(captions[job["rule"]]).read_text(encoding="utf-8"), undefined=StrictUndefined
    ).render(
        snakemake=SimpleNamespace(
            wildcards=SimpleNamespace(**job["wildcards"]), params=SimpleNamespace(**job["params"])
        )
    )
    return {
        "name": file.stem,
        "path": file.relative_to(results).as_posix(),
        "caption": _html(caption),
        "command": f"snakemake {file}",
        "time": readable_time(sum(job["seconds"] for job in jobs)),
        "jobs": len(jobs),
        "finished": job["finished"][:16].replace("T", " "),
        "commit": (job["commit"] or "unknown")[:10],
        "files": [],
    }


def _runtimes(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rules: dict[str, list[float]] = {}
    for job in jobs:
        rules.setdefault(job["rule"], []).append(job["seconds"])
    return [
        {
            "rule": rule,
            "jobs": len(seconds),
            "longest": readable_time(max(seconds)),
            "all": readable_time(sum(seconds)),
        }
        for rule, seconds in sorted(rules.items(), key=lambda row: -sum(row[1]))
    ]


def _provenance(jobs: list[dict[str, Any]]) -> str:
    """Return each set of commit, versions and hardware once, as JSON."""
    found: list[dict[str, Any]] = []
    for job in jobs:
        one = {key: job[key] for key in PROVENANCE}
        found += [one] if one not in found else []
    return "\n".join(json.dumps(one, indent=2) for one in found)


def _html(text: str) -> str:
    """Return reStructuredText as HTML."""
    settings = {"report_level": 3, "halt_level": 3, "raw_enabled": False}
    return publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def _page(template: str, **values: Any) -> bytes:
    return _PAGES.get_template(template).render(**values).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a result, found none ({error.strerror})") from error
