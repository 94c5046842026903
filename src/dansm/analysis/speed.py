"""Training speed: what it takes until a run is as good as the vanilla run at its end."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dansm.io.files import atomic_path
from dansm.io.tables import SECONDS, SPEED_COLUMNS
from dansm.metrics.intervals import bootstrap_interval, student_interval

_CURVE = ["process", "sampler", "steps", "feature_extractor"]
_IMAGES = "images_seen"
# What is counted until the target is reached, and the beginning of the names of its columns.
_COUNTED = {_IMAGES: ("images", "saving"), SECONDS: ("seconds", "seconds_saving")}


def place_of(values: np.ndarray, target: float) -> float:
    """Return where a curve first is at or below a target, as a place in its list of snapshots.

    Between snapshots the logarithm of the distance is interpolated linearly: 1.5 is halfway between
    the second and the third. A curve that is below the target from its first snapshot on gets 0, an
    upper bound; one that never reaches it gets NaN.

    Parameters
    ----------
    values
        Distances along training, shape (n,), positive.
    """
    below = np.flatnonzero(values <= target)
    if len(below) == 0:
        return float("nan")
    k = int(below[0])
    if k == 0:
        return 0.0
    before, after, goal = np.log([values[k - 1], values[k], target])
    return k - 1 + (before - goal) / (before - after)


def speed_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the saving of each coupling and match size against vanilla.

    Each seed's target is the final Fréchet distance of the vanilla run of the same seed, and its
    saving is what share of that run's images, or seconds, are not needed to reach it. So resampling
    seeds keeps the pairs of runs together.

    Parameters
    ----------
    distances
        With the columns of `TIMED_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With the columns of `SPEED_COLUMNS` but ``dataset``, one row per process, sampler, steps,
        feature extractor, coupling and match size: ``target`` (mean final distance of vanilla),
        ``seeds``, ``seeds_reaching``, ``seeds_at_first_snapshot`` (whose savings are lower bounds);
        ``budget_images`` and ``budget_seconds`` of vanilla; and by images and by seconds what it
        takes (mean), the saving in percent (mean), ``low`` and ``high`` of its bootstrap interval
        (from three seeds on) and of Student's (from two seeds on), both 95 % over seeds. A seed
        that never reaches its target leaves means and intervals empty.
    """
    curves = distances[
        (distances["metric"] == "frechet_distance") & (distances["seed_range"] == 0)
    ].dropna(subset=["steps", _IMAGES])
    # Only what is measured at every snapshot makes a curve.
    counts = curves.groupby(_CURVE)[_IMAGES].transform("nunique")
    curves = curves[counts > 1].sort_values(_IMAGES)
    rows: list[dict[str, Any]] = []
    for key, of_curve in curves.groupby(_CURVE, sort=True):
        vanilla = dict(iter(of_curve[of_curve["coupling"] == "independent"].groupby("seed")))
        for (coupling, match_size), of_row in of_curve.groupby(["coupling", "match_size"]):
            runs = [(run, vanilla[seed]) for seed, run in of_row.groupby("seed") if seed in vanilla]
            if not runs:
                continue
            targets = np.array([float(of_vanilla["value"].iloc[-1]) for _, of_vanilla in runs])
            places = np.array(
                [
                    place_of(run["value"].to_numpy(float), target)
                    for (run, _), target in zip(runs, targets, strict=True)
                ]
            )
            row = dict(zip(_CURVE, key, strict=True)) | {
                "coupling": coupling,
                "match_size": match_size,
                "target": targets.mean(),
                "seeds": len(runs),
                "seeds_reaching": int(np.isfinite(places).sum()),
                "seeds_at_first_snapshot": int((places == 0).sum()),
            }
            for counted, (unit, saving) in _COUNTED.items():
                needs = np.array(
                    [
                        np.interp(place, range(len(run)), run[counted].to_numpy(float))
                        for (run, _), place in zip(runs, places, strict=True)
                    ]
                )
                budgets = np.array([float(v[counted].astype(float).iloc[-1]) for _, v in runs])
                savings = 100 * (1 - needs / budgets)
                row |= {
                    f"budget_{unit}": budgets.mean(),
                    f"{unit}_to_reach": needs.mean(),
                    f"{saving}_percent": savings.mean(),
                }
                _, row[f"{saving}_low"], row[f"{saving}_high"] = bootstrap_interval(savings)
                student = (np.nan, np.nan)
                if np.isfinite(savings).all():
                    _, *student = student_interval(savings)
                row[f"{saving}_student_low"], row[f"{saving}_student_high"] = student
            rows.append(row)
    return pd.DataFrame(rows, columns=list(SPEED_COLUMNS)[1:])


def write_speed_table(distances: pd.DataFrame, path: Path) -> None:
    """Write the table of `speed_table` with the columns of `SPEED_COLUMNS`."""
    table = speed_table(distances)
    table.insert(0, "dataset", distances["dataset"].iloc[0])
    with atomic_path(path) as partial:
        table.astype(SPEED_COLUMNS).to_csv(partial, index=False)
