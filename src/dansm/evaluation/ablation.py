"""Couplings compared on equal terms: distance against images seen and against time."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dansm.config import RunSettings
from dansm.couplings import Potentials
from dansm.errors import InputError
from dansm.evaluation.intervals import student_interval
from dansm.evaluation.seed_ranges import final_distances
from dansm.evaluation.table import COLUMNS, SECONDS, TIMED_COLUMNS, read_table
from dansm.files import atomic_path, read_json
from dansm.training import RUN, STATS

_METHOD = ["coupling", "match_size"]


def collect_times(folders: Sequence[Path], potentials: Mapping[str, Path], path: Path) -> None:
    """Join the distances of runs, each with the time it took to come that far.

    The table has the columns of the table of distances, and ``seconds``: the wall-clock time of
    training up to that snapshot, waiting for pairs included, and for the coupling ``semidiscrete``
    that of fitting its potentials before.

    Parameters
    ----------
    folders
        Of finished and evaluated runs.
    potentials
        Files of the dataset's potentials by the coupling that needs them, as the runs name it.
    path
        The CSV to write.

    Raises
    ------
    InputError
        If a file is missing or damaged, or has no time for a snapshot.
    """
    parts = []
    for folder in folders:
        settings = RunSettings.model_validate(read_json(Path(folder) / RUN)["settings"])
        seconds = _seconds(Path(folder) / STATS)
        if settings.coupling_kind == "semidiscrete":
            seconds += Potentials.load(
                potentials[settings.coupling], **settings.coupling_options
            ).seconds
        distances = read_table(Path(folder) / "distances.csv")
        missing = sorted(set(distances["images_seen"].tolist()) - set(seconds.index))
        if missing:
            raise InputError(
                f"{Path(folder) / STATS}: expected a line for each snapshot, found none for "
                f"images_seen {missing}"
            )
        parts.append(distances.assign(**{SECONDS: distances["images_seen"].map(seconds)}))
    table = pd.concat(parts, ignore_index=True)[list(TIMED_COLUMNS)]
    with atomic_path(path) as partial:
        table.sort_values(list(COLUMNS), kind="stable").to_csv(partial, index=False)


def read_ablation(path: Path) -> pd.DataFrame:
    """Read what `collect_times` wrote.

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


def _seconds(path: Path) -> pd.Series:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return pd.Series({line["images_seen"]: line["seconds"] for line in lines}, dtype=float)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected the statistics of a run, found {error!r}") from error
