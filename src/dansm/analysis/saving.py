"""Training speed: what a run takes to be as good as its baseline, as a share of what that takes."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from dansm.catalogue import METRICS
from dansm.io.load import doubt
from dansm.io.tables import SPEED_COLUMNS
from dansm.metrics.intervals import student_interval

_CURVE = ["process", "sampler", "steps", "metric", "feature_extractor", "reference"]
_RUN = ["dataset", "run", "coupling", "match_size", "options", "baseline"]
# What is counted until a quality is reached, and the beginning of the names of its columns.
_COUNTED = {"images_seen": ("images", "saving"), "seconds": ("seconds", "seconds_saving")}


class Curve:
    """A run's curve of a metric along training, made monotone by isotonic regression.

    Values that are all positive are fitted in the logarithm. Between snapshots the fit is linear in
    the logarithm of images, which power laws are.

    Parameters
    ----------
    values
        Of the metric at each snapshot, shape (n,).
    counted
        Images and seconds until each snapshot, by the names of their columns.
    lower_is_better
        Of the metric.
    """

    def __init__(
        self, values: np.ndarray, counted: dict[str, np.ndarray], lower_is_better: bool = True
    ) -> None:
        values = np.log(values) if (values > 0).all() else values
        worse = values if lower_is_better else -values
        self.badness = isotonic_regression(worse, increasing=False).x
        self.counted = counted

    @property
    def end(self) -> float:
        """Badness at the end."""
        return float(self.badness[-1])

    def takes(self, badness: float) -> tuple[dict[str, float], bool]:
        """Return the images and seconds until a badness that the curve reaches.

        Also whether that is no more than an upper bound, since the first snapshot is as good.
        """
        k = int(np.flatnonzero(self.badness <= badness)[0])
        if k == 0:
            return {name: float(counts[0]) for name, counts in self.counted.items()}, True
        before, after = self.badness[k - 1 : k + 1]
        images = np.log(self.counted["images_seen"][k - 1 : k + 1])
        share = (before - badness) / (before - after)
        reached = np.exp(images[0] + (images[1] - images[0]) * share)
        return {
            name: float(np.interp(reached, self.counted["images_seen"], counts))
            for name, counts in self.counted.items()
        }, False


class Pair(NamedTuple):
    """What a run and its baseline take to be equally good.

    The run saves ``at_least`` so much where it takes no more than that, ``at_most`` so much where
    the baseline does.
    """

    run: dict[str, float]
    baseline: dict[str, float]
    at_least: bool
    at_most: bool

    @classmethod
    def of(cls, run: Curve, baseline: Curve) -> "Pair":
        """Compare two curves at the best quality that both reach."""
        common = max(run.end, baseline.end)
        (mine, early), (its, baseline_early) = run.takes(common), baseline.takes(common)
        return cls(mine, its, early, baseline_early)


def speed_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the saving of each run against its baseline, at equal quality.

    A run and the baseline of the same seed are compared at the best quality that both reach: the
    baseline's at its end where the run ends better, else the run's at its own end, where the saving
    is negative. What both take until then is read from the same monotone fit, `Curve`. So a run and
    a baseline that change places change the sign of the ratio's logarithm, and where nothing
    differs the mean saving is 0. The saving is ``1 − exp(mean log ratio)``, its interval Student's
    over seeds of the logarithms, which holds the truth in 95 % of simulated studies of five seeds
    (tests/unit/analysis/test_saving.py).

    A run whose first snapshot is as good already saves at least so much, and its interval is open
    above; where that is so of the baseline, at most so much. Only metrics that every snapshot has
    make a curve.

    Parameters
    ----------
    distances
        With `COMPARISON_COLUMNS`.

    Returns
    -------
    pandas.DataFrame
        With `SPEED_COLUMNS`, one row per process, sampler, steps, metric, feature extractor,
        reference and run: ``seeds``, ``seeds_at_least`` and ``seeds_at_most``, whose savings are
        bounds; and by images and by seconds what the run and its baseline take (geometric means),
        the saving in percent, and ``low`` and ``high`` of its interval, 95 %, from two seeds on.
        The row of a baseline itself is the null: each of its seeds is compared with the next, the
        last with the first, so that what differs between seeds cancels, and what the estimator adds
        does not. ``doubt`` says why times cannot be relied on, if so.
    """
    curves = distances[distances["image_set"] == 0].dropna(subset=["steps", "images_seen"])
    counts = curves.groupby(_CURVE, dropna=False)["images_seen"].transform("nunique")
    curves = curves[counts > 1].sort_values("images_seen")
    rows: list[dict[str, Any]] = []
    for key, of_panel in curves.groupby(_CURVE, sort=True, dropna=False):
        lower_is_better = METRICS[key[_CURVE.index("metric")]].lower_is_better
        fitted: dict[str, dict[int, Curve]] = {}
        for (run, seed), snapshots in of_panel.groupby(["run", "seed"]):
            values, *counts = snapshots[["value", *_COUNTED]].astype(float).to_numpy().T
            counted = dict(zip(_COUNTED, counts, strict=True))
            fitted.setdefault(run, {})[seed] = Curve(values, counted, lower_is_better)
        for _, of_run in of_panel.groupby(["coupling", "match_size", "run"]):
            described = of_run[_RUN].iloc[0].to_dict()
            mine, baselines = fitted[described["run"]], fitted.get(described["baseline"], {})
            if mine is baselines:
                following = [*mine, *mine][1 : len(mine) + 1]
                baselines = {a: mine[b] for a, b in zip(mine, following, strict=True) if a != b}
            pairs = [Pair.of(mine[seed], baselines[seed]) for seed in mine if seed in baselines]
            if pairs:
                found = savings(pairs) | {"doubt": _doubt(of_panel, described)}
                rows.append(dict(zip(_CURVE, key, strict=True)) | described | found)
    return pd.DataFrame(rows, columns=list(SPEED_COLUMNS)).astype(SPEED_COLUMNS)


def _doubt(of_panel: pd.DataFrame, described: dict[str, Any]) -> str | None:
    """Return why the times of a run and its baseline cannot be compared, if they cannot."""
    rows = of_panel[of_panel["run"].isin([described["run"], described["baseline"]])]
    machines = rows[["device", "threads"]].drop_duplicates()
    if len(machines) > 1:
        names = [f"{row.threads} threads of {row.device}" for row in machines.itertuples()]
        return f"trained on different machines: {', '.join(names)}"
    return doubt(rows["busy_others"].astype(float).tolist())


def savings(pairs: list[Pair]) -> dict[str, Any]:
    """Return the columns of `SPEED_COLUMNS` that say what pairs of runs take, and the saving."""
    at_least, at_most = (sum(pair[which] for pair in pairs) for which in (2, 3))
    found = {"seeds": len(pairs), "seeds_at_least": at_least, "seeds_at_most": at_most}
    for counted, (unit, saving) in _COUNTED.items():
        runs, baselines = (np.log([pair[which][counted] for pair in pairs]) for which in (0, 1))
        mean, low, high = student_interval(runs - baselines)
        low = -np.inf if at_least and not np.isnan(low) else low
        high = np.inf if at_most and not np.isnan(high) else high
        found |= {f"{unit}_to_reach": np.exp(runs.mean())}
        found |= {f"baseline_{unit}_to_reach": np.exp(baselines.mean())}
        found |= {f"{saving}_percent": 100 * (1 - np.exp(mean))}
        found |= {f"{saving}_low": 100 * (1 - np.exp(high))}
        found |= {f"{saving}_high": 100 * (1 - np.exp(low))}
    return found
