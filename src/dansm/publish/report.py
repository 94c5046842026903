"""A report of results as pages that need neither internet nor scripts, in one zip."""

import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt

from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks
from dansm.io.files import atomic_path
from dansm.io.records import Origin, Record, Records

# What a table holds, by what its name begins with.
TABLES = {
    "best_of_k": "Similarity of a Gaussian direction with the best of k Gaussian noises, by "
    "dimension: mean over draws, its standard error, and the bound √(2 ln k / d) of Lines "
    "Matching Models, appendix A.2.",
    "claims_": "Claims about the method, what was measured of each with its 95 % interval, and "
    "the verdict: supported or not if the whole interval is on one side of the threshold, "
    "undecided otherwise.",
    "costs_": "What each run cost, in evaluations of networks for one sample: of the run itself, "
    "of the run that it began with, of its teacher, and of the pairs that the teacher made.",
    "coupling_marginals": "What each coupling does to the noise: `value` over all windows of that "
    "name, `claim` over what the noise is Gaussian by its own account, `within` whether the value "
    "is what 99.9 % of streams of independent Gaussian noises show.",
    "crossings_": "Crossings of the lines between samples and noises in t-SNEs of their own, by "
    "kind of noise; `draw` numbers the t-SNEs.",
    "distances_": "Distances of generated to real images: `nfe` network evaluations an image "
    "took, only Inception's features give a FID, `seconds` of training and preparation until the "
    "snapshot; `reference` says with which real images is compared. Rows of process `real_images` "
    "are of other real images, those of `real_halves` of one half of them with the other.",
    "fid_": "Fréchet distances to the training images over Inception's features.",
    "loss_over_time_": "Loss of trained models in parts of time, on random, matched and "
    "preferable noises of samples that each generates itself.",
    "matching_cost": "Time per sample and peak memory of every way to match: `low` and `high` are "
    "quartiles over repetitions, `times_matmul` the ratio to one matrix product of the same "
    "sizes, `note` the limit that would be exceeded.",
    "matching_share_": "Milliseconds of a vanilla training step, of greedy matching a batch, and "
    "of a step whose pairs are matched ahead, by match size and round.",
    "memorising_": "How much nearer images are to training images than to held-out ones, and the "
    "share of copies, with 95 % intervals. Rows without a run are of held-out images themselves.",
    "paths_": "Mean length of paths of random, matched and preferable noises to the same samples, "
    "mean distance to the others and to the nearest, and the share of samples whose own noise is "
    "the nearest of their batch of `pairs`.",
    "reproducibility_": "Correlation of images that two models trained apart make from the same "
    "noises, and from different ones (`shuffled`), each model's mean image taken away, with 95 % "
    "bootstrap intervals over noises.",
    "speed_": "Images and seconds that a run and its baseline of the same seed take until both are "
    "as good as the worse of the two ends, from a monotone fit of their curves, and the savings in "
    "percent with Student's 95 % interval over seeds of the ratio's logarithm. In a baseline's "
    "own row each seed is compared with the next: what is found where nothing differs.",
    "straightness": "How far trajectories in two dimensions are from straight lines: of each "
    "system at each size of batch, by seed.",
    "summary_": "Metrics of finished models against the real images of `reference`: mean over "
    "seeds and sets of images with a 95 % interval (`how`), each seed's value (`by_seed`), and the "
    "lead over the baseline of the same process. Rows without a run are of real images.",
}
_MARKDOWN = MarkdownIt("commonmark", {"html": False})
_PAGES = Environment(
    loader=PackageLoader("dansm.publish"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def readable_time(seconds: float) -> str:
    """Write a duration in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


_PAGES.filters["time"] = readable_time


def write_report(
    files: Iterable[Path], results: Path, config: Mapping[str, Any], path: Path
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
    path
        The zip.

    Raises
    ------
    InputError
        If a file is missing, or no job's record or no caption is known of it.
    """
    records = Records(results)
    content: dict[str, bytes] = {}
    figures, tables = [], []
    behind: list[Record] = []
    for file in map(Path, files):
        if file.suffix not in (".png", ".csv"):
            continue
        jobs = records.behind(records.name(file))
        if not jobs:
            raise InputError(f"{file}: expected the record of the job that made it, found none")
        behind += [job for job in jobs if job not in behind]
        shown = [file]
        item = {
            "name": file.stem,
            "path": records.name(file),
            "command": f"snakemake {file}",
            "time": sum(job.seconds for job in jobs),
            "jobs": len(jobs),
            "finished": jobs[0].finished[:16].replace("T", " "),
            "commit": (jobs[0].commit or "unknown")[:10],
        }
        if file.suffix == ".png":
            figures.append(item)
            caption = _figure_caption(file, map(records.path, jobs[0].inputs))
            shown += [file.with_suffix(suffix) for suffix in (".pdf", ".ipynb")]
        else:
            tables.append(item)
            caption = _table_caption(file)
            table = pd.read_csv(file, dtype="string", keep_default_na=False)
            item |= {"rows": f"{len(table):,}", "page": f"tables/{file.stem}.html"}
            html = table.to_html(index=False, border=0)
            content[item["page"]] = _page("table.html", title=file.stem, table=html)
        item["caption"] = _MARKDOWN.render(caption)
        item["files"] = [records.name(one) for one in shown]
        content |= {name: _read(one) for name, one in zip(item["files"], shown, strict=True)}
    runs = [name for job in behind for name in job.outputs if name.endswith("run.json")]
    content |= {run: _read(results / run) for run in runs}
    times = pd.DataFrame([(job.rule, job.seconds) for job in behind], columns=["rule", "seconds"])
    runtimes = times.groupby("rule")["seconds"].agg(["count", "max", "sum"])
    content["config.yaml"] = yaml.safe_dump(dict(config), sort_keys=False, width=100).encode()
    content["index.html"] = _page(
        "report.html",
        title="DANSM: figures and tables",
        figures=figures,
        tables=tables,
        runtimes=runtimes.sort_values("sum", ascending=False).to_records(),
        runs=runs,
        config=content["config.yaml"].decode(),
        provenance=_provenance(behind),
    )
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w") as zipped:
        for name, data in sorted(content.items()):
            # Without the time of writing: the same report has the same bytes.
            zipped.writestr(zipfile.ZipInfo(f"report/{name}"), data, zipfile.ZIP_DEFLATED)


def _figure_caption(file: Path, inputs: Iterable[Path]) -> str:
    """Return what the notebook that drew a figure says first."""
    for path in inputs:
        if path.suffix == ".ipynb":
            return read_notebooks(path.parent)[path.stem].caption
    raise InputError(f"{file}: expected a figure that a notebook draws, found another")


def _table_caption(file: Path) -> str:
    for begin, caption in TABLES.items():
        if file.stem == begin or (begin.endswith("_") and file.stem.startswith(begin)):
            return caption
    raise InputError(f"{file}: expected one of the tables {list(TABLES)}")


def _provenance(jobs: list[Record]) -> str:
    """Return each set of commit, versions and hardware once, as JSON."""
    texts = [json.dumps(job.model_dump(include=set(Origin.model_fields)), indent=2) for job in jobs]
    return "\n".join(dict.fromkeys(texts))


def _page(template: str, **values: Any) -> bytes:
    return _PAGES.get_template(template).render(**values).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a result, found none ({error.strerror})") from error
