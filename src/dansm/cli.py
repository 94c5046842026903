"""The command line: ``dansm --help``."""

import json
import os
import re
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from dansm.config import config_schema, load_config, parse_config, read_yaml
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.evaluation.table import read_table

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

CONFIG = Path("config/config.yaml")
SCHEMA = Path("config/config.schema.json")


@app.command()
def summary(datasets: list[str]) -> None:
    """Print what the workflow measured for datasets, and where the pictures are."""
    try:
        results = Path(load_config(CONFIG).results)
        for dataset in datasets:
            table = read_table(results / f"fid_{dataset}.csv")
            typer.echo(f"\n{_distances(table, dataset)}")
            speed = pd.read_csv(results / f"speed_{dataset}.csv")
            typer.echo(f"\n{_savings(speed, dataset)}")
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    figures = sorted(
        path for dataset in datasets for path in (results / "figures").glob(f"*_{dataset}.png")
    )
    typer.echo("\nPictures (PDF beside each):")
    for path in figures:
        typer.echo(f"  {path}")


@app.command()
def train(folder: Path) -> None:
    """Train the run of a folder, or continue it, beside Snakemake.

    For torchrun across nodes; docs/cluster.md shows how. FOLDER is
    results/runs/DATASET/PROCESS/COUPLING-MATCH_SIZE/seedSEED, its dataset is in results/data.
    """
    # Here, since the other commands are quick without PyTorch.
    from dansm import training
    from dansm.data.store import open_store

    try:
        results, dataset, process, coupling, match_size, seed = _parts(folder)
        scale = results.name if results.parent.name == "results" else None
        config = parse_config({**read_yaml(CONFIG), "scale": scale}, str(CONFIG))
        row = config.row(dataset, process, coupling, match_size)
        potentials = results / "potentials" / dataset / f"{coupling}.npz"
        training.train(
            config.run_settings(row, seed),
            open_store(results / "data" / dataset),
            folder,
            potentials if config.kind(coupling) == "semidiscrete" else None,
        )
    except (InputError, TrainingError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    except InterruptedTraining as interruption:
        typer.echo(interruption)
        raise typer.Exit(os.EX_TEMPFAIL) from None


@app.command()
def schema(
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the file is up to date")
    ] = False,
) -> None:
    """Write the JSON schema of the configuration, for completion in editors."""
    text = config_schema()
    if not check:
        SCHEMA.write_text(text, encoding="utf-8")
    elif not SCHEMA.exists() or json.loads(SCHEMA.read_text()) != json.loads(text):
        typer.echo(f"{SCHEMA}: out of date; run `dansm schema`", err=True)
        raise typer.Exit(1)


@app.command()
def plan(
    targets: Annotated[
        list[str] | None, typer.Argument(help="As for snakemake; default: all")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="One of the config's scales")] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First time the networks on this machine")
    ] = False,
    gpu: Annotated[str | None, typer.Option(help="Plan for a GPU with this in its name")] = None,
    configfile: Annotated[
        list[Path] | None, typer.Option(help="As for snakemake: more configuration")
    ] = None,
) -> None:
    """Print what targets cost before they are made: jobs, hours, disk, downloads."""
    # Imported here: they take seconds, which the other commands need not wait for.
    from snakemake.utils import update_config

    from dansm import planning

    more = configfile or []
    try:
        content = read_yaml(CONFIG)
        for path in more:
            update_config(content, read_yaml(path))
        if scale is not None:
            content["scale"] = scale
        config = parse_config(content, " with ".join(map(str, (CONFIG, *more))))
        if calibrate:
            planning.calibrate(config)
        jobs = planning.planned_jobs(targets or ["all"], scale, more)
        typer.echo(planning.make_plan(config, jobs, gpu=gpu).text())
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _parts(folder: Path) -> tuple[Path, str, str, str, int, int]:
    """Return the results folder, dataset, process, coupling, match size and seed of a run's."""
    found = re.fullmatch(
        r"(.+)/runs/([^/]+)/([^/]+)/([^/]+)-(\d+)/seed(\d+)", folder.as_posix().rstrip("/")
    )
    if found is None:
        raise InputError(
            f"{folder}: expected results/runs/DATASET/PROCESS/COUPLING-MATCH_SIZE/seedSEED"
        )
    results, dataset, process, coupling, match_size, seed = found.groups()
    return Path(results), dataset, process, coupling, int(match_size), int(seed)


def _distances(table: pd.DataFrame, dataset: str) -> str:
    """Return the last snapshots' Fréchet distances, mean over seeds and ranges, as text."""
    frechet = table[table["metric"] == "frechet_distance"]
    runs = frechet.dropna(subset=["images_seen"])
    key = ["feature_extractor", "process", "sampler", "match_size", "coupling"]
    last = runs[runs["images_seen"] == runs.groupby(key)["images_seen"].transform("max")]
    wide = last.pivot_table(index=key, columns="steps", values="value", aggfunc="mean")
    wide.columns = [f"{steps} steps" for steps in wide.columns]
    floors = frechet[frechet["images_seen"].isna()]
    lines = [
        f"Fréchet distance on {dataset}, at equal images seen "
        f"({', '.join(f'{n:,}' for n in sorted(last['images_seen'].unique()))}); lower is better",
        wide.astype(float).round(1).to_string(na_rep="–"),
    ]
    for (process, extractor), rows in floors.groupby(["process", "feature_extractor"]):
        value = rows["value"].astype(float).mean()
        lines.append(f"{process} ({extractor}): {value:.1f}")
    return "\n".join(lines)


def _savings(speed: pd.DataFrame, dataset: str) -> str:
    shown = speed[speed["match_size"] > 0][
        [
            "process",
            "match_size",
            "steps",
            "seeds",
            "images_to_reach",
            "saving_percent",
            "saving_student_low",
            "saving_student_high",
        ]
    ]
    title = f"Images seen until {dataset} is as good as the vanilla run at its end; saving in %"
    return f"{title}\n{shown.round(0).to_string(index=False, na_rep='–')}"


if __name__ == "__main__":
    app()
