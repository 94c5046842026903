"""Couplings compared on equal terms: distance against images seen and against time."""

from pathlib import Path

import pandas as pd

from dansm.io.tables import SECONDS, TIMED_COLUMNS, read_table
from dansm.metrics.image_sets import final_distances
from dansm.metrics.intervals import student_interval

_METHOD = ["coupling", "match_size"]


def read_ablation(path: Path) -> pd.DataFrame:
    """Read what `dansm.analysis.times.collect_times` wrote.

    Raises
    ------
    InputError
        If the file is missing, has other columns or values that don't fit them.
    """
    return read_table(path, TIMED_COLUMNS)


def summarise_ablation(table: pd.DataFrame) -> pd.DataFrame:
    """Return the final distance of each coupling with its interval, and its lead over vanilla.

    Each seed's distance is the mean over its sets of generated images. Intervals are Student's,
    95 %, over seeds. All couplings start from the same weights with the same seed, so differences
    are taken seed by seed.

    Returns
    -------
    pandas.DataFrame
        One row per sampler, steps, feature extractor, coupling and match size, the least mean
        first: ``seeds``, ``mean``, ``low``, ``high``, ``seconds`` (mean, of training and
        preparation) and ``behind``, ``behind_low``, ``behind_high``: the mean distance minus
        that of the first row, whose own are 0.
    """
    rows = final_distances(table).dropna(subset=["steps"])
    panel = ["sampler", "steps", "feature_extractor"]
    of_seed = rows.groupby([*panel, *_METHOD, "seed"], as_index=False).agg(
        value=("value", "mean"), seconds=(SECONDS, "mean")
    )
    lines = []
    for key, of_panel in of_seed.groupby(panel):
        by_seed = of_panel.pivot(index="seed", columns=_METHOD, values="value").astype(float)
        best = by_seed[by_seed.mean().idxmin()]
        for method, values in by_seed.items():
            chosen = of_panel[(of_panel[_METHOD] == list(method)).all(axis=1)]
            mean, low, high = student_interval(values)
            behind, behind_low, behind_high = student_interval(values - best)
            lines.append(
                dict(zip([*panel, *_METHOD], [*key, *method], strict=True))
                | {
                    "seeds": int(values.count()),
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "seconds": float(chosen["seconds"].mean()),
                    "behind": behind,
                    "behind_low": behind_low,
                    "behind_high": behind_high,
                }
            )
    return pd.DataFrame(lines).sort_values([*panel, "mean"], ignore_index=True)
