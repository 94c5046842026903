"""Training speed: what it takes to be as good as a baseline, and what matching adds to a step."""

from typing import Any

import numpy as np
import pandas as pd

from dansm.catalogue import METRICS
from dansm.io.tables import SPEED_COLUMNS
from dansm.metrics.intervals import bootstrap_interval, student_interval

_CURVE = ["process", "sampler", "steps", "metric", "feature_extractor"]
_RUN = ["dataset", "run", "coupling", "match_size", "options", "baseline"]
_IMAGES, _SECONDS = "images_seen", "seconds"
# What is counted until the target is reached, and the beginning of the names of its columns.
_COUNTED = {_IMAGES: ("images", "saving"), _SECONDS: ("seconds", "seconds_saving")}


def place_of(values: np.ndarray, target: float, lower_is_better: bool = True) -> float:
    """Return where a curve first is as good as a target, as a place in its list of snapshots.

    Between snapshots the logarithm of the value is interpolated linearly, or of values that are not
    all positive the value: 1.5 is halfway between the second and the third. A curve that is better
    than the target from its first snapshot on gets 0, an upper bound; one that never reaches it
    gets NaN.

    Parameters
    ----------
    values
        Along training, shape (n,).
    """
    reached = np.flatnonzero(values <= target if lower_is_better else values >= target)
    if len(reached) == 0:
        return float("nan")
    k = int(reached[0])
    if k == 0:
        return 0.0
    ends = np.array([values[k - 1], values[k], target])
    before, after, goal = np.log(ends) if (ends > 0).all() else ends
    return k - 1 + (before - goal) / (before - after)


def speed_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the saving of each run against its baseline.

    Each seed's target is the final value of the baseline of the same seed, and its saving is what
    share of that run's images, or seconds, are not needed to reach it. So resampling seeds keeps
    the pairs of runs together. Only metrics that every snapshot has make a curve.

    Parameters
    ----------
    distances
        With `COMPARISON_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With `SPEED_COLUMNS`, one row per process, sampler, steps, metric, feature extractor and
        run: ``target`` (mean final value of the baseline), ``seeds``, ``seeds_reaching``,
        ``seeds_at_first_snapshot`` (whose savings are lower bounds); ``budget_images`` and
        ``budget_seconds`` of the baseline; and by images and by seconds what it takes (mean), the
        saving in percent (mean), ``low`` and ``high`` of its bootstrap interval (from three seeds
        on) and of Student's (from two seeds on), both 95 % over seeds. A seed that never reaches
        its target leaves means and intervals empty.
    """
    curves = distances[distances["image_set"] == 0].dropna(subset=["steps", _IMAGES])
    counts = curves.groupby(_CURVE)[_IMAGES].transform("nunique")
    curves = curves[counts > 1].sort_values(_IMAGES)
    rows: list[dict[str, Any]] = []
    for key, of_curve in curves.groupby(_CURVE, sort=True):
        lower_is_better = METRICS[key[_CURVE.index("metric")]].lower_is_better
        of_baseline = of_curve[of_curve["run"] == of_curve["baseline"]]
        baselines = dict(iter(of_baseline.groupby("seed")))
        for _, of_run in of_curve.groupby(["coupling", "match_size", "run"]):
            runs = [
                (run, baselines[seed]) for seed, run in of_run.groupby("seed") if seed in baselines
            ]
            if not runs:
                continue
            targets = np.array([float(baseline["value"].iloc[-1]) for _, baseline in runs])
            places = np.array(
                [
                    place_of(run["value"].to_numpy(float), target, lower_is_better)
                    for (run, _), target in zip(runs, targets, strict=True)
                ]
            )
            row = dict(zip(_CURVE, key, strict=True)) | of_run[_RUN].iloc[0].to_dict()
            row |= {
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
    return pd.DataFrame(rows, columns=list(SPEED_COLUMNS)).astype(SPEED_COLUMNS)


def matching_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Return what matching adds to a step in percent: ``inline`` and ``ahead`` beside the rows.

    The rows are those of `dansm.analysis.matching_share`. ``inline`` is added where a step waits
    for its own batch to be matched, ``ahead`` where a thread matches beforehand; the latter is
    below 0 where the noise of the measurement is larger than it.
    """
    step = table["step_ms"].astype(float)
    return table.assign(
        inline=100 * table["match_ms"].astype(float) / step,
        ahead=100 * (table["ahead_step_ms"].astype(float) / step - 1),
    )
