"""Pages that are written from archived results, notebooks and the catalogue, never typed.

In `FILLED` everything between ``<!-- generated: KIND … -->`` and ``<!-- end -->`` is made from a
file of `dansm.publish.archive` or from the catalogue; `FIGURES` and `VERDICT` are made as a whole.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from dansm.catalogue import (
    COUPLINGS,
    GRIDS,
    LOSSES,
    PROCESSES,
    SOLVERS,
    TIMES,
    CouplingEntry,
    Entry,
)
from dansm.errors import InputError
from dansm.figures.base import (
    metric_title,
    process_title,
    run_titles,
    sampler_title,
    span,
    steps_name,
    unequal_note,
)
from dansm.figures.notebooks import read_notebooks
from dansm.io.tables import SUMMARY_COLUMNS, compared_with, read_table
from dansm.publish.archive import Archived, archived_path, read_archive
from dansm.publish.report import readable_time
from dansm.publish.verdict import verdict_page

FILLED = tuple(
    map(
        Path,
        (
            "README.md",
            "config/README.md",
            "docs/couplings.md",
            "docs/results.md",
            "docs/scale.md",
        ),
    )
)
FIGURES = Path("docs/figures.md")
VERDICT = Path("docs/verdict.md")
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
    whole = {FIGURES: figures_page(NOTEBOOKS, reference), VERDICT: verdict_page(reference)}
    return filled_pages | whole


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
        target = name if notebook.of == "nothing" else f"{name}_digits"
        command = f"```\nsnakemake results/figures/{target}.png\n```"
        part = [f"## {notebook.title}", notebook.caption, command]
        for file, entry in entries.items():
            if _drawn_by(file, known) == name:
                picture = Path("..") / reference / file
                part.append(f"![{notebook.title}, {picture.stem}]({picture.as_posix()})")
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


def _distances(path: Path, entry: Archived, reference: str, runs: str = "") -> str:
    """Return a summary's distances: a row a run, of some if named, and a column a step count."""
    table = compared_with(read_table(path, SUMMARY_COLUMNS), reference)
    titles = run_titles(table)
    names = runs.split(",") if runs else list(titles)
    missing = sorted(set(names) - set(titles))
    if missing:
        raise InputError(f"{path}: expected the runs {missing}, found {list(titles)}")
    summary = table[(table["metric"] == "frechet_distance") & table["run"].isin(names)]
    parts = []
    for (extractor, process, sampler), group in summary.groupby(
        ["feature_extractor", "process", "sampler"], sort=False
    ):
        cells = group.assign(steps=group["steps"].fillna(0), cell=group.apply(_cell, axis=1))
        wide = cells.pivot(index="run", columns="steps", values="cell").fillna("")
        wide = wide.loc[[run for run in titles if run in wide.index]]
        wide = wide.rename(index=titles, columns=steps_name)
        of = f"{span(group['seeds'])} seed{'' if group['seeds'].max() == 1 else 's'}"
        parts.append(
            f"{metric_title('frechet_distance', extractor, reference)}; "
            f"{process_title(process)}, {sampler_title(sampler)}, after "
            f"{span(group['images_seen'])} images{unequal_note(table)}; mean ± half of its 95 % "
            f"interval over {of} and {span(group['image_sets'])} sets of "
            f"{span(group['n_samples'])} generated images; lower is better:\n\n"
            f"{_markdown(wide.rename_axis('').reset_index())}"
        )
    return "\n\n".join([*parts, f"`{entry.command}`: {_origin(entry)}"])


def _cell(row: pd.Series) -> str:
    half = (row["high"] - row["low"]) / 2
    return f"{row['mean']:.1f}" + ("" if pd.isna(half) else f" ± {half:.1f}")


def _scale(path: Path, entry: Archived, part: str = "") -> str:
    """Return a part of what was calculated from what matching costs."""
    # Counts operations of networks, for which it imports torch.
    from dansm.publish.scale import scale_section

    tables = [_markdown(table) for table in scale_section(path, part)]
    measured = [f"Times: `{entry.command}`: {_origin(entry)}"] if part == "assumptions" else []
    return "\n\n".join([*tables, *measured])


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
    lines = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


_KINDS: dict[str, Callable[..., str]] = {
    "figure": _figure,
    "distances": _distances,
    "scale": _scale,
}
