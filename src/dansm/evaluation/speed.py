"""Training speed: images seen until a run is as good as the vanilla run at its end."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from dansm.files import atomic_path

_CURVE = ["process", "sampler", "steps", "feature_extractor"]
CONFIDENCE = 0.95


def images_to_reach(images: np.ndarray, values: np.ndarray, target: float) -> float:
    """Return how many images were seen when a curve first was at or below a target.

    Between snapshots the logarithm of the distance is interpolated linearly. A curve that is below
    the target from its first snapshot on gets that snapshot's images, an upper bound; one that
    never reaches it gets NaN.

    Parameters
    ----------
    images, values
        The curve, shape (n,), images increasing, values positive.
    """
    below = np.flatnonzero(values <= target)
    if len(below) == 0:
        return float("nan")
    k = int(below[0])
    if k == 0:
        return float(images[0])
    before, after, goal = np.log([values[k - 1], values[k], target])
    share = (before - goal) / (before - after)
    return float(images[k - 1] + share * (images[k] - images[k - 1]))


def speed_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the saving of each coupling and match size against vanilla, seed by seed averaged.

    Each seed's target is the final Fréchet distance of the vanilla run of the same seed. The
    interval is Student's, 95 %, over seeds; with one seed, or where a seed never reaches its
    target, there is none.

    Parameters
    ----------
    distances
        As read by `dansm.evaluation.table.read_table`.

    Returns
    -------
    pandas.DataFrame
        One row per process, sampler, steps, feature extractor, coupling and match size:
        ``target`` (mean final distance of vanilla), ``budget_images``, ``seeds``,
        ``seeds_reaching``, ``seeds_at_first_snapshot`` (whose images are upper bounds),
        ``images_to_reach`` (mean), ``saving_percent``, ``saving_low``, ``saving_high``.
    """
    curves = distances[
        (distances["metric"] == "frechet_distance") & (distances["seed_range"] == 0)
    ].dropna(subset=["steps", "images_seen"])
    # Only what is measured at every snapshot makes a curve.
    counts = curves.groupby(_CURVE)["images_seen"].transform("nunique")
    curves = curves[counts > 1]
    rows: list[dict[str, Any]] = []
    for key, of_curve in curves.groupby(_CURVE, sort=True):
        vanilla = {
            seed: run.sort_values("images_seen")
            for seed, run in of_curve[of_curve["coupling"] == "independent"].groupby("seed")
        }
        for (coupling, match_size), of_row in of_curve.groupby(["coupling", "match_size"]):
            reached, savings, targets, first = [], [], [], 0
            for seed, run in of_row.groupby("seed"):
                if seed not in vanilla:
                    continue
                ordered = run.sort_values("images_seen")
                target = float(vanilla[seed]["value"].iloc[-1])
                budget = int(vanilla[seed]["images_seen"].iloc[-1])
                images = ordered["images_seen"].to_numpy(float)
                need = images_to_reach(images, ordered["value"].to_numpy(float), target)
                targets.append(target)
                reached.append(need)
                savings.append(100 * (1 - need / budget))
                first += int(need == images[0])
            if not targets:
                continue
            low, high = _interval(np.array(savings))
            rows.append(
                dict(zip(_CURVE, key, strict=True))
                | {
                    "coupling": coupling,
                    "match_size": match_size,
                    "target": float(np.mean(targets)),
                    "budget_images": budget,
                    "seeds": len(targets),
                    "seeds_reaching": int(np.isfinite(reached).sum()),
                    "seeds_at_first_snapshot": first,
                    "images_to_reach": float(np.mean(reached)),
                    "saving_percent": float(np.mean(savings)),
                    "saving_low": low,
                    "saving_high": high,
                }
            )
    return pd.DataFrame(rows)


def write_speed_table(distances: pd.DataFrame, path: Path) -> None:
    """Write the table of `speed_table`."""
    table = speed_table(distances)
    table.insert(0, "dataset", distances["dataset"].iloc[0])
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def _interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2 or not np.isfinite(values).all():
        return float("nan"), float("nan")
    half = student_t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    half *= values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)
