"""Distances of compared runs: in one table, and as a summary of the finished models."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dansm.catalogue import COUPLINGS, EXTRACTORS, METRICS
from dansm.errors import InputError
from dansm.io.records import is_proven
from dansm.io.run_folder import STATS, read_run
from dansm.io.tables import (
    COMPARISON_COLUMNS,
    DISTANCE_COLUMNS,
    SUMMARY_COLUMNS,
    read_table,
    write_table,
)
from dansm.metrics.image_sets import KEY, final_values, last_snapshots
from dansm.metrics.intervals import behind_best, crossed_interval, student_interval

_PANEL = ["sampler", "steps", "metric", "feature_extractor", "reference"]


def collect_distances(
    folders: Sequence[Path],
    others: Sequence[Path],
    path: Path,
    *,
    dataset: str,
    baselines: Mapping[str, str],
    unequal: Sequence[str] = (),
    potentials: Mapping[str, Path] | None = None,
    tables: Sequence[Path] | None = None,
) -> None:
    """Join the distances of a comparison into a table with `COMPARISON_COLUMNS`.

    ``seconds`` is the wall-clock time of training up to a snapshot, waiting for pairs included, and
    of fitting potentials before where the coupling needs them; ``busy_others`` is how many cores
    other processes kept busy meanwhile, on average, where that is known.

    Parameters
    ----------
    folders
        Of finished runs.
    others
        Tables of distances that belong to no run: of halves of the real images, of reconstructions.
        They carry the name of the pixel dataset; in the table of its latents they stand for those.
    path
        The table.
    dataset
        Of the comparison.
    baselines
        By process, the name of the run with which the others are compared.
    unequal
        Conditions in which the runs differ.
    potentials
        Files of fitted potentials, by the slug of the coupling that needs them.
    tables
        The runs' tables of distances; None: those in their folders.

    Raises
    ------
    InputError
        If a file is missing or damaged, or has no time for a snapshot.
    """
    tables = tables or [Path(folder) / "distances.csv" for folder in folders]
    parts = [
        _timed(Path(folder), table, potentials or {})
        for folder, table in zip(folders, tables, strict=True)
    ]
    parts += [read_table(other, DISTANCE_COLUMNS) for other in others]
    table = pd.concat(parts, ignore_index=True).assign(dataset=dataset)
    table["baseline"] = table["process"].map(dict(baselines))
    table["unequal"] = ", ".join(unequal) or None
    write_table(path, table.sort_values(list(DISTANCE_COLUMNS), kind="stable"), COMPARISON_COLUMNS)


def _timed(folder: Path, table: Path, potentials: Mapping[str, Path]) -> pd.DataFrame:
    run = read_run(folder)
    coupling, times = run.settings.coupling, _times(folder / STATS)
    if "potentials" in COUPLINGS[coupling.name].needs:
        from dansm.couplings import Potentials  # PyTorch, which nothing else here waits for

        try:
            times["seconds"] += Potentials.load(potentials[coupling.slug]).seconds
        except ValueError as error:
            raise InputError(str(error)) from error
        times["busy_others"] = np.nan  # during the fit nobody looked
    distances = read_table(table, DISTANCE_COLUMNS)
    missing = sorted(set(distances["images_seen"].tolist()) - set(times.index))
    if missing:
        raise InputError(
            f"{folder / STATS}: expected a line for each snapshot, found none for "
            f"images_seen {missing}"
        )
    machine = {"device": run.device, "threads": run.hardware.get("threads")}
    return distances.join(times, on="images_seen").assign(**machine)


def _times(path: Path) -> pd.DataFrame:
    """Return seconds of training, and cores that others kept busy, by images seen."""
    is_proven(path)
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = {
            line["images_seen"]: {
                "seconds": line["seconds"],
                "busy_others": line.get("busy_others", np.nan),
            }
            for line in lines
        }
        return pd.DataFrame.from_dict(rows, orient="index", dtype=float)
    except (OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected the statistics of a run, found {error!r}") from error


def fid_rows(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a comparison that are FID, or stand for it at a reduced scale.

    FID is to the training images, by the field's convention.

    Raises
    ------
    InputError
        If there are none.
    """
    extractors = [name for name, entry in EXTRACTORS.items() if entry.fid_or_standin]
    rows = distances[
        (distances["metric"] == "frechet_distance")
        & distances["feature_extractor"].isin(extractors)
        & (distances["reference"] == "training")
    ]
    if rows.empty:
        raise InputError(
            f"FID: expected distances over Inception's features, found those over "
            f"{sorted(set(distances['feature_extractor']))}"
        )
    return rows


def summarise(distances: pd.DataFrame) -> pd.DataFrame:
    """Return each finished model's value of each metric with its interval, and its lead.

    Values are those of `dansm.metrics.image_sets.final_values`, intervals of 95 %. Runs of a seed
    start from the same weights, and all are measured on the same noises, so differences are taken
    seed by seed: what a set of images adds to all runs cancels.

    Parameters
    ----------
    distances
        With `COMPARISON_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With `SUMMARY_COLUMNS`, one row per process, sampler, steps, metric, feature extractor,
        reference and run, the best mean first. ``mean``, ``low`` and ``high`` are over ``seeds``
        and ``image_sets`` of ``n_samples`` images each, ``how`` names the interval
        (`dansm.metrics.intervals.crossed_interval`), and ``by_seed`` has each seed's mean, for
        `seed_values`; ``seconds`` is the mean of training and preparation. ``behind`` is how much
        worse it is than the first row, whose own is 0, and its interval how much worse than the run
        that is the best in truth, whichever that is (`dansm.metrics.intervals.behind_best`, of
        ratios where all values are positive, over seeds that all runs have); ``difference`` is its
        value less the baseline's, with Student's interval. What belongs to no run, as the floor
        does, stands last: its ``image_sets`` are draws.
    """
    last = last_snapshots(distances)
    grids = dict(iter(final_values(distances).groupby([key for key in KEY if key != "seed"])))
    lines: list[dict[str, Any]] = []
    for (_, *panel), of_panel in last.groupby(["process", *_PANEL]):
        sign = 1 if METRICS[panel[_PANEL.index("metric")]].lower_is_better else -1
        of_runs = {run: rows for run, rows in of_panel.groupby("run")}
        of_sets = {run: _whole(grids[run, *panel].droplevel(["run", *KEY[2:]])) for run in of_runs}
        by_seed = pd.DataFrame({run: values.mean(axis=1) for run, values in of_sets.items()})
        order = (sign * by_seed.mean()).sort_values(kind="stable").index
        behind = _behind(by_seed[order], sign)
        for run in order:
            described = of_runs[run].iloc[0]
            line = described[list(set(SUMMARY_COLUMNS) & set(distances))].to_dict()
            line |= {"steps": described["steps"] or None}
            line |= {"reference": described["reference"] or None}
            line |= of_runs[run][["nfe", "seconds"]].astype(float).mean().to_dict()
            line |= _over_seeds_and_sets(of_sets[run])
            baseline = by_seed.get(described["baseline"], pd.Series(np.nan, by_seed.index))
            found = student_interval(by_seed[run] - baseline)
            names = ("difference", "difference_low", "difference_high")
            lines.append(line | dict(zip(names, found, strict=True)) | behind.loc[run].to_dict())
    of_none = distances[distances["run"].isna()]
    for _, draws in of_none.groupby(["process", *_PANEL], dropna=False):
        line = draws.iloc[0][list(set(SUMMARY_COLUMNS) & set(distances))].to_dict()
        line |= student_interval(draws["value"])._asdict() | {"image_sets": len(draws)}
        lines.append(line | {"how": "Student's over draws" if len(draws) > 1 else "one value"})
    return pd.DataFrame(lines, columns=list(SUMMARY_COLUMNS)).astype(SUMMARY_COLUMNS)


def _whole(values: pd.DataFrame) -> pd.DataFrame:
    """Return the sets that all seeds have: what others add could not be told from the seeds."""
    whole = values.dropna(axis=1)
    return values.mean(axis=1).to_frame() if whole.empty else whole


def _over_seeds_and_sets(values: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of a summary that come of a value for each seed and set of images."""
    seeds, sets = values.shape
    found = map(float, crossed_interval(values.to_numpy()))
    how = "one seed, no interval"
    if seeds > 1:
        how = "seeds × image sets, Satterthwaite" if sets > 1 else "Student's over seeds"
    return dict(zip(("mean", "low", "high"), found, strict=True)) | {
        "seeds": seeds,
        "image_sets": sets,
        "how": how,
        "by_seed": " ".join(f"{seed}={value:.10g}" for seed, value in values.mean(axis=1).items()),
    }


def seed_values(text: str) -> pd.Series:
    """Return each seed's value from the column ``by_seed`` of a summary."""
    pairs = (pair.split("=") for pair in text.split())
    return pd.Series({int(seed): float(value) for seed, value in pairs})


def _behind(by_seed: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Return how much worse each run, a column, is than the best, the first, with its interval."""
    best = by_seed.iloc[:, 0].mean()
    values = by_seed.dropna().to_numpy(float)
    if (values > 0).all():
        low, high = (
            abs(best * np.exp(sign * end) - best) for end in behind_best(sign * np.log(values))
        )
    else:
        low, high = behind_best(sign * values)
    found = {"behind": sign * (by_seed.mean() - best), "behind_low": low, "behind_high": high}
    return pd.DataFrame(found, index=by_seed.columns)
