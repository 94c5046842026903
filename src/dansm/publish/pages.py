"""Pages that are written from archived results, notebooks and the catalogue, never typed.

In `FILLED` everything between ``<!-- generated: KIND … -->`` and ``<!-- end -->`` is made from a
file of `dansm.publish.archive` or from the catalogue; ``docs/figures.md`` is made as a whole.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from dansm.catalogue import (
    COUPLINGS,
    EXTRACTORS,
    GRIDS,
    LOSSES,
    METRICS,
    PROCESSES,
    SOLVERS,
    TIMES,
    CouplingEntry,
    Entry,
)
from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks
from dansm.io.tables import COMPARISON_COLUMNS, read_table
from dansm.publish.archive import Archived, archived_path, read_archive
from dansm.publish.report import readable_time

FILLED = (Path("README.md"), Path("config/README.md"))
FIGURES = Path("docs/figures.md")
NOTEBOOKS = Path("notebooks")
_SECTION = re.compile(r"(<!-- generated: (.*?) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
_CATALOGUE: dict[str, Mapping[str, Entry]] = {
    "couplings": COUPLINGS,
    "grids": GRIDS,
    "losses": LOSSES,
    "processes": PROCESSES,
    "solvers": SOLVERS,
    "times": TIMES,
}


def write_pages(reference: Path) -> None:
    """Write the pages anew from an archive."""
    for path, text in pages(reference).items():
        path.write_text(text, encoding="utf-8")


def pages(reference: Path) -> dict[Path, str]:
    """Return the pages' texts as they should be.

    Raises
    ------
    InputError
        If one asks for a file that is not archived, or in a form that there is not.
    """
    filled_pages = {path: filled(path.read_text(encoding="utf-8"), reference) for path in FILLED}
    return {**filled_pages, FIGURES: figures_page(NOTEBOOKS, reference)}


def filled(text: str, reference: Path) -> str:
    """Return a text with its generated sections made anew."""
    entries = read_archive(reference)

    def section(found: re.Match[str]) -> str:
        begin, order, end = found.groups()
        kind, *options = order.split()
        if kind in _CATALOGUE and not options:
            made = _catalogue(_CATALOGUE[kind])
        elif kind in _KINDS and options:
            name, *options = options
            made = _KINDS[kind](archived_path(name, reference), entries[name], *options)
        else:
            known = [*_CATALOGUE, *(f"{name} FILE" for name in _KINDS)]
            raise InputError(f"generated: {order}: expected one of {known}")
        return f"{begin}{made}\n{end}"

    return _SECTION.sub(section, text)


def figures_page(notebooks: Path, reference: Path) -> str:
    """Return the page on figures: what each shows, the command, and its archived pictures."""
    entries = read_archive(reference)
    parts = [
        "# Figures\n\nOne notebook each, below `notebooks/`, which reads result files only. The "
        "commands are those of the digits where a figure is of a dataset or comparison; any other "
        "takes its place in the name. Times are those of all jobs behind a figure, one after the "
        "other. `--config from=reference` draws from the archived results instead:\n\n"
        "```\nsnakemake results/from_reference/figures/comparison_digits_couplings.png "
        "--config from=reference\n```\n\nThis page is written by `dansm pages`."
    ]
    known = read_notebooks(notebooks)
    for name, notebook in known.items():
        heading, _, shows = notebook.caption.partition("\n")
        title = heading.removeprefix("# ")
        target = f"results/figures/{name}{'_digits' if notebook.of else ''}.png"
        part = [f"## {title}", shows.strip(), f"```\nsnakemake {target}\n```"]
        for file, entry in entries.items():
            if _drawn_by(file, known) == name:
                picture = Path("..") / reference / file
                part.append(f"![{title}, {picture.stem}]({picture.as_posix()})")
                part.append(f"`{entry.command}`: {_origin(entry)}")
        parts.append("\n\n".join(part))
    return "\n\n".join(parts) + "\n"


def _drawn_by(file: str, notebooks: Mapping[str, object]) -> str | None:
    """Return the notebook of figures/NOTEBOOK.png, or of figures/NOTEBOOK_SUBJECT.png."""
    if not (file.startswith("figures/") and file.endswith(".png")):
        return None
    found = [name for name in notebooks if f"{Path(file).stem}_".startswith(f"{name}_")]
    return max(found, key=len, default=None)


def _origin(entry: Archived) -> str:
    """Say where and when something was made, in how long."""
    hardware = entry.hardware
    machine = f"{hardware.get('processor', 'unknown')}, {hardware.get('cpus', '?')} cores"
    if hardware.get("device", "cpu") != "cpu":
        machine = f"{hardware['device']}; {machine}"
    jobs = f" in {entry.jobs} jobs" if entry.jobs > 1 else ""
    took = "" if entry.seconds is None else f"{readable_time(entry.seconds)}{jobs} on "
    changed = " with changes" if entry.uncommitted_changes else ""
    commit = (entry.commit or "unknown")[:10]
    return f"{took}{machine}; {entry.made[:10]}, commit {commit}{changed}."


def _figure(path: Path, entry: Archived) -> str:
    return f"![{path.stem}]({path.as_posix()})\n\n`{entry.command}`: {_origin(entry)}"


def _rows(path: Path, entry: Archived, columns: str) -> str:
    """Return some columns of a table as they are."""
    table = pd.read_csv(path, dtype="string", keep_default_na=False)
    missing = sorted(set(columns.split(",")) - set(table))
    if missing:
        raise InputError(f"{path}: expected columns {missing}, found {list(table)}")
    return _markdown(table[columns.split(",")])


def _distances(path: Path, entry: Archived, runs: str = "") -> str:
    """Return a comparison's distances: a row a run, of some if named, and a column a step count."""
    from dansm.analysis.distances import summarise  # which takes seconds to import

    table = read_table(path, COMPARISON_COLUMNS)
    names = runs.split(",") if runs else list(dict.fromkeys(table["run"].dropna()))
    missing = sorted(set(names) - set(table["run"].dropna()))
    if missing:
        raise InputError(f"{path}: expected the runs {missing}, found none")
    summary = summarise(table)
    summary = summary[(summary["metric"] == "frechet_distance") & summary["run"].isin(names)]
    parts = []
    for (extractor, process, sampler), group in summary.groupby(
        ["feature_extractor", "process", "sampler"], sort=False
    ):
        counts = sorted(group["steps"].dropna().unique())
        rows = []
        for _, of_run in group.groupby(["match_size", "coupling", "run"]):
            steps = of_run["steps"]
            cells = {
                f"{count} steps": _cell(of_run[(steps == count).fillna(False)]) for count in counts
            }
            if steps.isna().any():
                cells["adaptive"] = _cell(of_run[steps.isna()])
            rows.append({"": _method(of_run.iloc[0])} | cells)
        metric = "FID" if EXTRACTORS[extractor].fid else METRICS["frechet_distance"].label()
        images = table.loc[table["run"].isin(names), "images_seen"].max()
        seeds = "–".join(map(str, sorted(set(group["seeds"]))))
        parts.append(
            f"{metric}, {EXTRACTORS[extractor].label()}; {PROCESSES[process].label()}, "
            f"{SOLVERS[sampler].label() if sampler in SOLVERS else sampler}, after {images:,} "
            f"images; mean ± half of Student's 95 % interval over {seeds} "
            f"seed{'' if seeds == '1' else 's'}; lower is better:\n\n"
            + _markdown(pd.DataFrame(rows))
        )
    return "\n\n".join([*parts, f"`{entry.command}`: {_origin(entry)}"])


def _method(row: pd.Series) -> str:
    options = {} if pd.isna(row["options"]) else dict(re.findall(r"(\w+)=([^,]+)", row["options"]))
    if row["match_size"]:
        options["match_size"] = row["match_size"]
    return COUPLINGS[row["coupling"]].label(options)


def _cell(rows: pd.DataFrame) -> str:
    """Write the only row's mean with its uncertainty, or nothing where there is no row."""
    if rows.empty:
        return ""
    row = rows.iloc[0]
    half = (row["high"] - row["low"]) / 2
    return f"{row['mean']:.1f}" + ("" if pd.isna(half) else f" ± {half:.1f}")


def _catalogue(entries: Mapping[str, Entry]) -> str:
    """Return what there is of a kind: name, what it is, and of couplings what the noise is."""
    rows = []
    for name, entry in entries.items():
        row = {"name": f"`{name}`", "what it is": entry.summary}
        if isinstance(entry, CouplingEntry):
            row |= {"noise": entry.noise, "in a run": "yes" if entry.configurable else "no"}
        rows.append(row)
    return _markdown(pd.DataFrame(rows))


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    lines += [["" if pd.isna(value) else str(value) for value in row] for row in table.to_numpy()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_KINDS: dict[str, Callable[..., str]] = {
    "figure": _figure,
    "distances": _distances,
    "rows": _rows,
}
