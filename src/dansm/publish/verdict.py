"""The verdict on couplings, written from archived summaries, never typed."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dansm.catalogue import COUPLINGS, METRICS, PROCESSES, REFERENCES
from dansm.config import PARTS
from dansm.figures.base import metric_title, run_titles, sampler_title, span, unequal_note
from dansm.io.tables import MARGINAL_COLUMNS, SUMMARY_COLUMNS, compared_with, read_table

_STEPS = (3, 5, 10, 50)
_COUPLING = ["dataset", "coupling", "match_size", "options"]
_REMEMBERED = "nearer_to_training"
_INTRODUCTION = """# Which coupling, by what was measured

One section a dataset, of its archived comparison with the most couplings: what each reaches in so
many sampling steps, what it remembers, what it costs and what it asks of the data. Cells are the
mean ± half of the 95 % interval over seeds and sets of images. Those in bold cannot be told from
the best of their column: Tukey's simultaneous intervals of all differences, `behind` in summaries.
Differences are known far better than each mean, since all runs share seeds and noises.
[numbers.md](numbers.md) says how each number is computed, [couplings.md](couplings.md) how to use a
coupling. This page is written by `dansm pages` from the tables that it names."""


def verdict_page(reference: Path) -> str:
    """Return the page: for each dataset of the archive, its couplings and when to take which.

    Parameters
    ----------
    reference
        Folder of the archive.
    """
    largest: dict[str, tuple[Path, pd.DataFrame]] = {}
    for path in sorted(reference.glob("summary_*.csv")):
        table = read_table(path, SUMMARY_COLUMNS)
        runs = table.dropna(subset=["run"])
        dataset, couplings = runs["dataset"].iloc[0], len(_couplings(runs))
        if couplings > 2 and couplings > len(_couplings(largest.get(dataset, (None, None))[1])):
            largest[dataset] = path, table
    path = reference / "coupling_marginals.csv"
    costs = _costs(read_table(path, MARGINAL_COLUMNS)) if path.exists() else {}
    parts = [_section(*largest[dataset], costs) for dataset in sorted(largest)]
    return "\n\n".join([_INTRODUCTION, *parts]) + "\n"


def _couplings(table: pd.DataFrame | None) -> set[tuple[str, ...]]:
    if table is None:
        return set()
    return set(table[_COUPLING].astype(str).itertuples(index=False))


def _costs(marginals: pd.DataFrame) -> dict[tuple[str, ...], float]:
    """Return microseconds a sample by dataset, coupling, match size and options."""
    rows = marginals[marginals["statistic"] == "microseconds_per_sample"]
    rows = rows[rows["window"] == "stream"]
    keys = rows[_COUPLING].astype(str).itertuples(index=False)
    return dict(zip(map(tuple, keys), rows["value"].astype(float), strict=True))


def _section(path: Path, table: pd.DataFrame, costs: Mapping[tuple[str, ...], float]) -> str:
    dataset = table["dataset"].iloc[0]
    found = set(table["reference"].dropna())
    part = next(part for part in reversed(PARTS) if part in found)
    said = f"Distances are to {REFERENCES[part]}"
    if part == "training":
        said += ", since none were held out: part of what is better may be remembered"
    parts = [f"## {dataset}\n\n`{path.as_posix()}`. {said}{unequal_note(table)}."]
    rows = compared_with(table, part)
    titles = run_titles(table.dropna(subset=["run"]))
    frechet = rows[(rows["metric"] == "frechet_distance") & rows["steps"].isin(_STEPS)]
    for (process, sampler, extractor), of_panel in frechet.dropna(subset=["run"]).groupby(
        ["process", "sampler", "feature_extractor"]
    ):
        if of_panel["run"].nunique() < 3:
            continue
        remembered = rows[(rows["process"] == process) & (rows["sampler"] == sampler)]
        remembered = remembered[remembered["metric"] == _REMEMBERED]
        head = (
            f"**{PROCESSES[process].title}, {sampler_title(sampler)}**; "
            f"{metric_title('frechet_distance', extractor, part)}; lower is better. "
            f"{span(of_panel['seeds'])} seeds, {span(of_panel['image_sets'])} sets of "
            f"{span(of_panel['n_samples'])} images, after {span(of_panel['images_seen'])} training "
            "images."
        )
        parts += [head, _table(of_panel, remembered, titles, costs), _when(of_panel, titles)]
    floor = frechet[frechet["run"].isna()]
    parts += [
        f"Other real images: {row.mean:.1f} (`{row.process}`, {row.n_samples:,} images)."
        for row in floor.itertuples()
    ]
    return "\n\n".join(parts)


def _table(
    distances: pd.DataFrame,
    remembered: pd.DataFrame,
    titles: Mapping[str, str],
    costs: Mapping[tuple[str, ...], float],
) -> str:
    steps = [number for number in _STEPS if number in set(distances["steps"])]
    head = ["coupling", *(f"{number} steps" for number in steps)]
    head += [METRICS[_REMEMBERED].title.lower(), "seconds", "µs a sample", "noise", "asks"]
    lines = [head, ["---"] * len(head)]
    of_first = distances[distances["steps"] == steps[0]].sort_values("mean")
    for run in of_first["run"]:
        mine = distances[distances["run"] == run].set_index("steps")
        described = mine.iloc[0]
        key = tuple(described[_COUPLING].astype(str))
        beside = remembered[remembered["run"] == run].sort_values("steps", na_position="first")
        line = [titles[run], *(_cell(mine.loc[number]) for number in steps)]
        line.append(_share(beside.iloc[-1]) if len(beside) else "not measured")
        line.append("–" if pd.isna(described["seconds"]) else f"{described['seconds']:.0f}")
        line.append(f"{costs[key]:.1f}" if key in costs else "–")
        entry = COUPLINGS[described["coupling"]]
        lines.append([*line, entry.noise, _asks(described["coupling"])])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: pd.Series) -> str:
    text = f"{row['mean']:.1f}"
    if not pd.isna(row["high"]):
        text += f" ± {row['high'] - row['mean']:.1f}"
    same = not pd.isna(row["behind_low"]) and row["behind_low"] == 0
    return f"**{text}**" if same else text


def _share(row: pd.Series) -> str:
    text = f"{100 * row['mean']:.1f} %"
    return text if pd.isna(row["high"]) else f"{text} ± {100 * (row['high'] - row['mean']):.1f}"


def _asks(coupling: str) -> str:
    """Return what a coupling asks of the data, in words."""
    entry, asked = COUPLINGS[coupling], []
    if "noise" in entry.needs:
        asked.append("pairs of a teacher")
    elif entry.fixed_samples:
        asked.append("a finite dataset without augmentation")
    if "potentials" in entry.needs:
        asked.append("a fit before training")
    return ", ".join(asked) or "nothing"


def _when(distances: pd.DataFrame, titles: Mapping[str, str]) -> str:
    """Return, by what the data allow and for each step count, the coupling of the lowest mean."""
    steps = sorted(set(distances["steps"]))
    asks = distances["coupling"].map(_asks)
    lines = [["take", *(f"{number} steps" for number in steps)], ["---"] * (len(steps) + 1)]
    for allowed, rows in (
        ("on any data, augmented or endless", distances[asks == "nothing"]),
        ("on a finite dataset without augmentation", distances),
    ):
        best = rows.loc[rows["mean"].astype(float).groupby(rows["steps"]).idxmin()]
        cells = best.set_index("steps").apply(lambda row: _apart(row, titles), axis=1)
        lines.append([allowed, *(cells[number] for number in steps)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _apart(row: pd.Series, titles: Mapping[str, str]) -> str:
    title = titles[row["run"]]
    if row["behind"] == 0:
        return f"{title}: the lowest mean of all"
    if pd.isna(row["behind_low"]):
        return f"{title}: {row['behind']:.1f} above the lowest mean"
    if row["behind_low"] == 0:
        return f"{title}: not to be told from the best"
    ends = f"{row['behind_low']:.1f} to {row['behind_high']:.1f}"
    return f"{title}: {ends} behind the best"
