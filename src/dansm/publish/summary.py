"""What the workflow measured for comparisons, as tables for a terminal."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dansm.catalogue import PROCESSES, REFERENCES
from dansm.config import Config
from dansm.io.tables import SPEED_COLUMNS, SUMMARY_COLUMNS, compared_with, read_table


def print_summary(console: Console, config: Config, comparisons: list[str]) -> None:
    """Print the distances, the savings, and the pictures of comparisons, as links to the files.

    Raises
    ------
    InputError
        If a comparison is unknown, or its table is missing or not one.
    """
    results = Path(config.results)
    for name in comparisons:
        reference = config.reference(config.comparison(name).dataset)
        finals = read_table(results / f"summary_{name}.csv", SUMMARY_COLUMNS)
        for table in _distances(compared_with(finals, reference), name, reference):
            console.print(table, "")
        if (results / f"speed_{name}.csv").exists():
            speed = read_table(results / f"speed_{name}.csv", SPEED_COLUMNS)
            for table in _savings(compared_with(speed, reference), name, reference):
                console.print(table, "")
    subjects = {*comparisons, *(config.comparison(name).dataset for name in comparisons)}
    console.print("Pictures (PDF beside each):")
    for path in sorted({p for s in subjects for p in (results / "figures").glob(f"*_{s}.png")}):
        link = Style(link=path.resolve().as_uri())
        console.print(Text("  ").append(str(path), style=link), soft_wrap=True)


def _distances(finals: pd.DataFrame, name: str, reference: str) -> Iterator[Table]:
    """Yield the Fréchet distances of finished models, a table for each process and sampler."""
    found = finals[finals["metric"] == "frechet_distance"]
    shown = found[found["run"].notna()]
    for (extractor, process, sampler), rows in shown.groupby(
        ["feature_extractor", "process", "sampler"], sort=False
    ):
        table = _table(
            f"{name}: {PROCESSES[process].title}, {sampler}",
            f"Fréchet distance to the {REFERENCES[reference]}, {extractor} features, and its 95 % "
            "interval; lower is better",
        )
        steps = sorted(rows["steps"].dropna().unique())
        for number in steps:
            table.add_column(f"{number:.0f} steps" if number else "own steps", justify="right")
        for run, of_run in rows.groupby("run", sort=False):
            by_steps = of_run.set_index("steps")
            cells = [_interval(by_steps.loc[n]) if n in by_steps.index else "–" for n in steps]
            table.add_row(str(run), *cells)
        for real in found[found["run"].isna()].itertuples():
            if real.feature_extractor == extractor:
                table.caption += f"\n{real.process}: {real.mean:.1f}"
        yield table


def _interval(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return f"{row['mean']:.1f}"
    return f"{row['mean']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _savings(speed: pd.DataFrame, name: str, reference: str) -> Iterator[Table]:
    """Yield the images that runs need to be as good as their baseline, by process and sampler."""
    shown = speed[speed["run"] != speed["baseline"]]
    for (extractor, process, sampler, baseline), rows in shown.groupby(
        ["feature_extractor", "process", "sampler", "baseline"], sort=False
    ):
        table = _table(
            f"{name}: saving over {baseline}, {PROCESSES[process].title}, {sampler}",
            f"% of the images seen by {baseline} that a run spares to be as near the "
            f"{REFERENCES[reference]}, {extractor} features, and its 95 % interval",
        )
        steps = sorted(rows["steps"].unique())
        for number in steps:
            table.add_column(f"{number:.0f} steps" if number else "own steps", justify="right")
        for run, of_run in rows.groupby("run", sort=False):
            by_steps = of_run.set_index("steps")
            table.add_row(
                str(run),
                *(_saving(by_steps.loc[n]) if n in by_steps.index else "–" for n in steps),
            )
        yield table


def _saving(row: pd.Series) -> str:
    if pd.isna(row["saving_percent"]):
        return "–"
    if pd.isna(row["saving_low"]):
        return f"{row['saving_percent']:.0f} %"
    return f"{row['saving_percent']:.0f} % [{row['saving_low']:.0f}, {row['saving_high']:.0f}]"


def _table(title: str, caption: str) -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("run", no_wrap=True)
    return table
