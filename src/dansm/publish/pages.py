"""Pages that are written from archived results and notebooks, never typed.

In ``README.md`` everything between ``<!-- generated: KIND FILE -->`` and ``<!-- end -->`` is made
from a file of `dansm.publish.archive`; ``docs/figures.md`` is made as a whole.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from dansm.analysis.ablation import SECONDS
from dansm.errors import InputError
from dansm.figures.base import PROCESS_NAMES, SAMPLER_NAMES, steps_name
from dansm.figures.distances import method_name, metric_name, summarise_distances
from dansm.io.files import read_json
from dansm.io.tables import COLUMNS, read_table
from dansm.publish.archive import archived_path, read_archive
from dansm.publish.report import readable_time

README = Path("README.md")
FIGURES = Path("docs/figures.md")
NOTEBOOKS = Path("notebooks")
_SECTION = re.compile(r"(<!-- generated: (.*?) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
_METHOD = ["match_size", "coupling"]


def write_pages(reference: Path) -> None:
    """Write the pages anew from an archive."""
    for path, text in pages(reference).items():
        path.write_text(text, encoding="utf-8")


def pages(reference: Path) -> dict[Path, str]:
    """Return the pages' texts as they should be.

    Raises
    ------
    InputError
        If the README asks for a file that is not archived, or in a form that there is not.
    """
    return {
        README: filled(README.read_text(encoding="utf-8"), reference),
        FIGURES: figures_page(NOTEBOOKS, reference),
    }


def filled(text: str, reference: Path) -> str:
    """Return a text with its generated sections made anew."""
    entries = read_archive(reference)

    def section(found: re.Match[str]) -> str:
        begin, order, end = found.groups()
        kind, name, *options = order.split()
        if kind not in _KINDS:
            raise InputError(f"generated: {order}: expected one of {sorted(_KINDS)}")
        path = archived_path(name, reference)
        return f"{begin}{_KINDS[kind](path, entries[name], *options)}\n{end}"

    return _SECTION.sub(section, text)


def figures_page(notebooks: Path, reference: Path) -> str:
    """Return the page on figures: what each shows, the command, and its archived pictures."""
    entries = read_archive(reference)
    parts = [
        "# Figures\n\nOne notebook each, below `notebooks/`, which reads result files only. The "
        "commands are those of the digits where a figure is of a dataset; any other dataset takes "
        "its place in the name. Times are those of all jobs behind a figure, one after the other. "
        "`--config from=reference` draws from the archived results instead:\n\n"
        "```\nsnakemake results/from_reference/figures/coupling_ablation_digits.png "
        "--config from=reference\n```\n\nThis page is written by `dansm pages`."
    ]
    for path in sorted(notebooks.glob("*.ipynb")):
        title, shows, target = _described(path)
        part = [f"## {title}", shows, f"```\nsnakemake {target}\n```"]
        for name, entry in entries.items():
            if _drawn_by(path, name, entry):
                picture = Path("..") / reference / name
                part.append(f"![{title}, {Path(name).stem}]({picture.as_posix()})")
                part.append(f"`{entry['command']}`: {_origin(entry)}")
        parts.append("\n\n".join(part))
    return "\n\n".join(parts) + "\n"


def _drawn_by(notebook: Path, name: str, entry: dict[str, Any]) -> bool:
    """Return whether an archived figure is a notebook's; by its name, if no job made it."""
    named = name.startswith(f"figures/{notebook.stem}") and name.endswith(".png")
    return notebook.as_posix() in entry["inputs"] or (named and not entry["inputs"])


def _described(path: Path) -> tuple[str, str, str]:
    """Return a notebook's title, what its first cell says, and a figure that it makes."""
    cells = [(cell, "".join(cell["source"])) for cell in read_json(path)["cells"]]
    heading, _, shows = cells[0][1].partition("\n")
    defaults = [text for cell, text in cells if "parameters" in cell["metadata"].get("tags", [])]
    output = re.search(r'^output = "(.+)"$', "\n".join(defaults), flags=re.MULTILINE)
    if not heading.startswith("# ") or not shows.strip() or output is None:
        raise InputError(f"{path}: expected a title, what it shows and a default for output first")
    return heading.removeprefix("# "), shows.strip(), f"{output[1]}.png"


def _origin(entry: dict[str, Any]) -> str:
    """Say where and when something was made, in how long."""
    hardware = entry["hardware"]
    machine = f"{hardware['processor']}, {hardware['cpus']} cores"
    if hardware["device"] != "cpu":
        machine = f"{hardware['device']}; {machine}"
    seconds = entry["seconds"]
    jobs = f" in {entry['jobs']} jobs" if entry["jobs"] > 1 else ""
    took = "" if seconds is None else f"{readable_time(seconds)}{jobs} on "
    changed = " with changes" if entry["uncommitted_changes"] else ""
    commit = (entry["commit"] or "unknown")[:10]
    return f"{took}{machine}; {entry['made'][:10]}, commit {commit}{changed}."


def _figure(path: Path, entry: dict[str, Any]) -> str:
    return f"![{path.stem}]({path.as_posix()})\n\n`{entry['command']}`: {_origin(entry)}"


def _rows(path: Path, entry: dict[str, Any], columns: str) -> str:
    """Return some columns of a table as they are."""
    table = pd.read_csv(path, dtype="string", keep_default_na=False)
    missing = sorted(set(columns.split(",")) - set(table))
    if missing:
        raise InputError(f"{path}: expected columns {missing}, found {list(table)}")
    return _markdown(table[columns.split(",")])


def _paper_rows(path: Path, entry: dict[str, Any]) -> str:
    """Return the distances of vanilla and greedy, a row a match size, a column a step count."""
    return _distances(path, entry, ["independent", "greedy"])


def _distances(path: Path, entry: dict[str, Any], couplings: list[str] | None = None) -> str:
    with_time = SECONDS in pd.read_csv(path, nrows=0)
    columns = {**COLUMNS, SECONDS: "Float64"} if with_time else COLUMNS
    summary = summarise_distances(read_table(path, columns))
    if couplings is not None:
        summary = summary[summary["coupling"].isin(couplings)]
    parts = []
    for (extractor, process, sampler), group in summary.groupby(
        ["feature_extractor", "process", "sampler"], sort=False
    ):
        cells = {}
        for (match_size, coupling), rows in group.groupby(_METHOD):
            values = rows.set_index("steps")
            cells[method_name(coupling, match_size)] = {
                steps_name(steps): _cell(values.loc[steps]) for steps in sorted(values.index)
            }
        seeds = sorted(set(group["seeds"]))
        parts.append(
            f"{metric_name(extractor)}; {PROCESS_NAMES[process]}, {SAMPLER_NAMES[sampler]}, after "
            f"{group['images_seen'].max():,} images; mean ± half of Student's 95 % interval over "
            f"{'–'.join(map(str, seeds))} seed{'s' if seeds != [1] else ''}; lower is better:\n\n"
            + _markdown(pd.DataFrame(cells).T.rename_axis("").reset_index())
        )
    return "\n\n".join([*parts, f"`{entry['command']}`: {_origin(entry)}"])


def _cell(row: pd.Series) -> str:
    spread = "" if pd.isna(row["half"]) else f" ± {row['half']:.1f}"
    return f"{row['mean']:.1f}{spread}"


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    lines += [["" if pd.isna(value) else str(value) for value in row] for row in table.to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_KINDS: dict[str, Callable[..., str]] = {
    "figure": _figure,
    "distances": _paper_rows,
    "couplings": _distances,
    "rows": _rows,
}
