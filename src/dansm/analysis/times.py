"""Distances of runs with the time that each of them took."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dansm.config import RunSettings
from dansm.couplings import Potentials
from dansm.errors import InputError
from dansm.io.files import atomic_path, read_json
from dansm.io.run_folder import RUN, STATS
from dansm.io.tables import COLUMNS, SECONDS, TIMED_COLUMNS, read_table


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


def _seconds(path: Path) -> pd.Series:
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return pd.Series({line["images_seen"]: line["seconds"] for line in lines}, dtype=float)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: expected the statistics of a run, found {error!r}") from error
