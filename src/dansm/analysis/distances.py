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

    Values are those of `dansm.metrics.image_sets.final_values`, intervals of 95 %, over seeds and
    sets of images (`dansm.metrics.intervals.crossed_interval`). Runs of a seed start from the same
    weights, and all are measured on the same noises, so differences are taken seed by seed and set
    by set: what these add to all runs cancels.

    Parameters
    ----------
    distances
        With `COMPARISON_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With `SUMMARY_COLUMNS`, one row per process, sampler, steps, metric, feature extractor,
        reference and run, the best mean first. ``mean``, ``low`` and ``high`` are over ``seeds``
        and ``image_sets`` of ``n_samples`` images each, ``how`` names the interval, and ``by_seed``
        has all values, for `seed_values`; ``seconds`` is the mean of training and preparation.
        ``behind`` is how much worse it is than the first row, whose own is 0, and its interval how
        much worse than the run that is the best in truth, whichever that is
        (`dansm.metrics.intervals.behind_best`, of ratios where all values are positive, over seeds
        that all runs have); ``difference`` with its interval is its value less the baseline's. What
        belongs to no run, as the floor does, stands last: its ``image_sets`` are draws.
    """
    last = last_snapshots(distances)
    grids = dict(iter(final_values(distances).groupby([key for key in KEY if key != "seed"])))
    lines: list[dict[str, Any]] = []
    for (_, *panel), of_panel in last.groupby(["process", *_PANEL]):
        sign = 1 if METRICS[panel[_PANEL.index("metric")]].lower_is_better else -1
        of_runs = {run: rows for run, rows in of_panel.groupby("run")}
        values = {run: _whole(grids[run, *panel].droplevel(["run", *KEY[2:]])) for run in of_runs}
        order = sorted(values, key=lambda run: (sign * values[run].to_numpy().mean(), run))
        behind = _behind([values[run] for run in order], sign)
        for run, *bounds in zip(order, *behind, strict=True):
            described = of_runs[run].iloc[0]
            line = described[list(set(SUMMARY_COLUMNS) & set(distances))].to_dict()
            line |= {"steps": described["steps"] or None}
            line |= {"reference": described["reference"] or None}
            line |= of_runs[run][["nfe", "seconds"]].astype(float).mean().to_dict()
            line |= _over_seeds_and_sets(values[run])
            line |= dict(zip(("behind", "behind_low", "behind_high"), bounds, strict=True))
            if described["baseline"] in values:
                mine, its = shared([values[run], values[described["baseline"]]])
                names = ("difference", "difference_low", "difference_high")
                line |= dict(zip(names, crossed_interval(mine - its), strict=False))
            lines.append(line)
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
    return dict(zip(("mean", "low", "high"), found, strict=False)) | {
        "seeds": seeds,
        "image_sets": sets,
        "how": how,
        "by_seed": " ".join(
            f"{seed}={'/'.join(f'{value:.10g}' for value in of_seed)}"
            for seed, of_seed in zip(values.index, values.to_numpy(), strict=True)
        ),
    }


def seed_values(text: str) -> pd.DataFrame:
    """Return the values of a summary's column ``by_seed``: a row a seed, a column a set."""
    pairs = (pair.split("=") for pair in text.split())
    values = {int(seed): [float(value) for value in of_seed.split("/")] for seed, of_seed in pairs}
    return pd.DataFrame.from_dict(values, orient="index")


def shared(values: Sequence[pd.DataFrame]) -> np.ndarray:
    """Return the values of several runs for the seeds and sets that all have.

    Runs with other sets are compared by their means over sets.

    Parameters
    ----------
    values
        Of each run, a row a seed and a column a set.

    Returns
    -------
    numpy.ndarray
        Shape (runs, seeds, sets).
    """
    if len({tuple(of_run.columns) for of_run in values}) > 1:
        values = [of_run.mean(axis=1).to_frame() for of_run in values]
    seeds = sorted(set.intersection(*(set(of_run.index) for of_run in values)))
    return np.stack([of_run.loc[seeds].to_numpy(float) for of_run in values])


def _behind(values: Sequence[pd.DataFrame], sign: int) -> tuple[np.ndarray, ...]:
    """Return how much worse each run is than the best, the first, and the bounds of that."""
    means = np.array([of_run.to_numpy().mean() for of_run in values])
    common = np.moveaxis(shared(values), 0, -1)
    if (common > 0).all():
        bounds = behind_best(sign * np.log(common))
        low, high = (abs(means[0] * np.exp(sign * end) - means[0]) for end in bounds)
    else:
        low, high = behind_best(sign * common)
    return sign * (means - means[0]), low, high
