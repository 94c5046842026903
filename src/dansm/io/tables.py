"""Tidy tables, one row a measurement: their columns, and how they are written and read."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dansm.catalogue import COUPLINGS, METRICS, PROCESSES, SPACES
from dansm.config import PARTS, RunSettings
from dansm.couplings.registry import Pick, options_text
from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.records import is_proven

# A column of one name has one type in all tables; those that are not here are numbers with a
# fraction. `loss` is a name where runs are described, and a number in the table of it.
_TYPES = {
    "string": """dataset run process coupling options times sampler metric feature_extractor
        reference how by_seed baseline unequal stage device processor torch claim window statistic
        name source measure direction verdict why method note kind quantity doubt""",
    "Int64": """match_size seed images_seen steps image_set image_sets n_samples seeds
        seeds_at_least seeds_at_most dimensions batch_size threads round window_size n
        samples_timed draw pairs crossings images k draws""",
    "boolean": "within",
}
# What columns of names may hold: entries of the catalogue, and what stands beside the runs.
_NAMES = {
    "process": {*PROCESSES, "real_halves", "real_images", "real_held_out", "reconstruction"},
    "coupling": {*COUPLINGS},
    "metric": {*METRICS},
    "feature_extractor": {*SPACES},
    "reference": {*PARTS},
}
_ENDS = ("low", "high")  # of intervals, which may be open: other numbers are finite
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names.split()}


def _columns(names: str) -> dict[str, str]:
    """Return the columns of a table with their types; those of two runs end in _a and _b."""
    return {
        name: _TYPE_OF.get(name.removesuffix("_a").removesuffix("_b"), "Float64")
        for name in names.split()
    }


# What every table that describes runs says of them; `run_columns` has the values.
_RUN = "dataset run process coupling match_size options times loss seed"
RUN_COLUMNS = _columns(_RUN) | {"loss": "string"}

DISTANCE_COLUMNS = RUN_COLUMNS | _columns(
    "images_seen sampler steps nfe image_set metric feature_extractor reference n_samples value"
)
COMPARISON_COLUMNS = DISTANCE_COLUMNS | _columns(
    "seconds device threads busy_others baseline unequal"
)

_LEAD = "difference difference_low difference_high"
SUMMARY_COLUMNS = {name: kind for name, kind in RUN_COLUMNS.items() if name != "seed"} | _columns(
    f"""images_seen sampler steps nfe metric feature_extractor reference seeds image_sets n_samples
    mean low high how by_seed seconds behind behind_low behind_high baseline {_LEAD} unequal"""
)

SPEED_COLUMNS = _columns(
    """dataset process sampler steps metric feature_extractor reference run coupling match_size
    options baseline seeds seeds_at_least seeds_at_most
    images_to_reach baseline_images_to_reach saving_percent saving_low saving_high
    seconds_to_reach baseline_seconds_to_reach
    seconds_saving_percent seconds_saving_low seconds_saving_high doubt"""
)

_MODEL = "run process coupling match_size seed"
# `stage` is the run itself, one before it, or pairs of a teacher.
COST_COLUMNS = RUN_COLUMNS | _columns("stage evaluations")

REPRODUCIBILITY_COLUMNS = _columns(
    " ".join(["dataset", *(f"{name}_{side}" for side in "ab" for name in _MODEL.split())])
    + " images similarity low high shuffled shuffled_low shuffled_high"
)

CLAIM_COLUMNS = _columns(
    "dataset name claim source measure reference direction threshold value low high n "
    "corrected_low corrected_high verdict why"
)

MATCHING_SHARE_COLUMNS = _columns(
    """dataset process dimensions batch_size device processor threads torch match_size round
    step_ms match_ms ahead_step_ms busy_others"""
)

MARGINAL_COLUMNS = _columns(
    """dataset coupling match_size options claim window window_size statistic value
    theory_low theory_high within n"""
)

MATCHING_COST_COLUMNS = _columns(
    """method match_size dimensions batch_size threads device processor torch samples_timed
    microseconds_per_sample low high peak_memory_mib times_matmul note"""
)

PATH_COLUMNS = _columns("dataset kind coupling match_size seed draw pairs quantity value")

CROSSING_COLUMNS = _columns("dataset kind match_size seed draw pairs perplexity crossings")

LOSS_COLUMNS = _columns(
    "dataset run coupling match_size seed kind t_low t_high pairs loss standard_error"
)

STRAIGHTNESS_COLUMNS = _columns("name process coupling batch_size seed value standard_error n")

BEST_OF_K_COLUMNS = _columns("dimensions k similarity standard_error bound draws")


def coupling_columns(coupling: Pick) -> dict[str, Any]:
    """Return what tables say of a coupling: ``coupling``, ``match_size`` and other ``options``."""
    options = dict(coupling.options)
    size = options.pop("match_size", 0)
    return {
        "coupling": coupling.name,
        "match_size": size,
        "options": options_text(options) or None,
    }


def run_columns(name: str, settings: RunSettings) -> dict[str, Any]:
    """Return the values of `RUN_COLUMNS` for a run of this name and these settings."""
    return {
        "dataset": settings.dataset,
        "run": name,
        "process": settings.process.text,
        **coupling_columns(settings.coupling),
        "times": settings.times.text,
        "loss": settings.loss.text,
        "seed": settings.seed,
    }


def write_table(
    path: Path, rows: pd.DataFrame | Iterable[Mapping[str, Any]], columns: Mapping[str, str]
) -> None:
    """Write rows as a CSV file with certain columns; those that the rows lack stay empty."""
    rows = rows if isinstance(rows, pd.DataFrame) else list(rows)
    table = pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read what `write_table` wrote.

    Raises
    ------
    InputError
        If the file is missing, has other columns, values that don't fit them, unknown names or
        infinite numbers that are no end of an interval, or is not as the job that made it left it.
    """
    is_proven(path)
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        # With other columns the types would not fit them.
        table = pd.read_csv(path, dtype=dict(columns)) if header == list(columns) else None
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a table, found no file") from error
    except (OSError, ValueError, TypeError, OverflowError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: expected a table, found {error}") from error
    if table is None:
        raise InputError(f"{path}: expected columns {list(columns)}, found {header}")
    for column, known in _NAMES.items():
        found = table.get(column, pd.Series(dtype=str)).dropna()
        unknown = {name.partition("(")[0] for name in found} - known  # options follow a name
        if unknown:
            raise InputError(
                f"{path}: {column}: expected one of {sorted(known)}, found {min(unknown)!r}"
            )
    for column in table.select_dtypes("Float64"):
        infinite = np.isinf(table[column].to_numpy(float, na_value=np.nan))
        if infinite.any() and not column.endswith(_ENDS):
            found = f"{table[column][infinite.argmax()]} in row {infinite.argmax() + 1}"
            raise InputError(f"{path}: {column}: expected finite numbers, found {found}")
    return table


def compared_with(table: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Return the rows of a comparison with some of the real images, or with none at all.

    Parameters
    ----------
    table
        With the column ``reference``.
    reference
        One of `dansm.config.PARTS`.
    """
    return table[table["reference"].isna() | (table["reference"] == reference)]
