"""Tidy tables, one row a measurement: above all that of distances."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dansm.errors import InputError
from dansm.io.files import atomic_path

COLUMNS = {
    "dataset": "string",
    "process": "string",
    "coupling": "string",
    "match_size": "Int64",
    "seed": "Int64",
    "images_seen": "Int64",
    "sampler": "string",
    "steps": "Int64",
    "nfe": "Float64",
    "seed_range": "Int64",
    "metric": "string",
    "feature_extractor": "string",
    "n_samples": "Int64",
    "value": "Float64",
}

SECONDS = "seconds"
# Distances with the time of training until each snapshot.
TIMED_COLUMNS = {**COLUMNS, SECONDS: "Float64"}

SPEED_COLUMNS = {
    "dataset": "string",
    "process": "string",
    "sampler": "string",
    "steps": "Int64",
    "feature_extractor": "string",
    "coupling": "string",
    "match_size": "Int64",
    "target": "Float64",
    "seeds": "Int64",
    "seeds_reaching": "Int64",
    "seeds_at_first_snapshot": "Int64",
    "budget_images": "Int64",
    "images_to_reach": "Float64",
    "saving_percent": "Float64",
    "saving_low": "Float64",
    "saving_high": "Float64",
    "saving_student_low": "Float64",
    "saving_student_high": "Float64",
    "budget_seconds": "Float64",
    "seconds_to_reach": "Float64",
    "seconds_saving_percent": "Float64",
    "seconds_saving_low": "Float64",
    "seconds_saving_high": "Float64",
    "seconds_saving_student_low": "Float64",
    "seconds_saving_student_high": "Float64",
}

MATCHING_SHARE_COLUMNS = {
    "dataset": "string",
    "process": "string",
    "dimensions": "Int64",
    "batch_size": "Int64",
    "device": "string",
    "processor": "string",
    "threads": "Int64",
    "torch": "string",
    "match_size": "Int64",
    "round": "Int64",
    "step_ms": "Float64",
    "match_ms": "Float64",
    "ahead_step_ms": "Float64",
}

MARGINAL_COLUMNS = {
    "dataset": "string",
    "coupling": "string",
    "match_size": "Int64",
    "options": "string",
    "claim": "string",
    "window": "string",
    "window_size": "Int64",
    "statistic": "string",
    "value": "Float64",
    "theory_low": "Float64",
    "theory_high": "Float64",
    "within": "boolean",
    "n": "Int64",
    "name": "string",
}

CLAIM_COLUMNS = {
    "dataset": "string",
    "name": "string",
    "claim": "string",
    "source": "string",
    "measure": "string",
    "direction": "string",
    "threshold": "Float64",
    "value": "Float64",
    "low": "Float64",
    "high": "Float64",
    "n": "Int64",
    "verdict": "string",
    "why": "string",
}

MATCHING_COST_COLUMNS = {
    "method": "string",
    "match_size": "Int64",
    "dimensions": "Int64",
    "batch_size": "Int64",
    "threads": "Int64",
    "device": "string",
    "processor": "string",
    "torch": "string",
    "samples_timed": "Int64",
    "microseconds_per_sample": "Float64",
    "low": "Float64",
    "high": "Float64",
    "peak_memory_mib": "Float64",
    "times_matmul": "Float64",
    "note": "string",
}

PATH_COLUMNS = {
    "dataset": "string",
    "kind": "string",
    "coupling": "string",
    "match_size": "Int64",
    "draw": "Int64",
    "pairs": "Int64",
    "quantity": "string",
    "value": "Float64",
}

CROSSING_COLUMNS = {
    "dataset": "string",
    "kind": "string",
    "match_size": "Int64",
    "draw": "Int64",
    "pairs": "Int64",
    "perplexity": "Float64",
    "crossings": "Int64",
}

LOSS_COLUMNS = {
    "dataset": "string",
    "coupling": "string",
    "match_size": "Int64",
    "seed": "Int64",
    "kind": "string",
    "t_low": "Float64",
    "t_high": "Float64",
    "pairs": "Int64",
    "loss": "Float64",
    "standard_error": "Float64",
}

_RUN = {"process": "string", "coupling": "string", "match_size": "Int64", "seed": "Int64"}
REPRODUCIBILITY_COLUMNS = {
    "dataset": "string",
    **{f"{name}_{side}": kind for side in "ab" for name, kind in _RUN.items()},
    "images": "Int64",
    **dict.fromkeys(
        ["similarity", "low", "high", "shuffled", "shuffled_low", "shuffled_high"], "Float64"
    ),
}

BEST_OF_K_COLUMNS = {
    "dimensions": "Int64",
    "k": "Int64",
    "similarity": "Float64",
    "standard_error": "Float64",
    "bound": "Float64",
    "draws": "Int64",
}


def write_table(path: Path, rows: pd.DataFrame) -> None:
    """Write rows of distances, sorted, in the order of `COLUMNS`; missing columns stay empty."""
    table = rows.reindex(columns=list(COLUMNS)).astype(COLUMNS)
    table = table.sort_values(list(COLUMNS), kind="stable")
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def read_table(
    path: Path, columns: Mapping[str, str] = COLUMNS, content: str = "distances"
) -> pd.DataFrame:
    """Read a table of distances, or another one.

    Parameters
    ----------
    path
        A CSV file.
    columns
        The columns that it must have, in their order, with their types.
    content
        What it is a table of, for messages.

    Raises
    ------
    InputError
        If the file is missing, has other columns or values that don't fit them.
    """
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        if header != list(columns):
            raise InputError(f"{path}: expected columns {list(columns)}, found {header}")
        return pd.read_csv(path, dtype=dict(columns))
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a table of {content}, found no file") from error
    except (ValueError, pd.errors.EmptyDataError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a table of {content}, found {error}") from error


def collect_tables(paths: Sequence[Path], dataset: str, path: Path) -> None:
    """Join tables of distances into one of a dataset.

    Rows of the real images carry the name of the pixel dataset; in the table of its latents they
    stand for those.
    """
    table = pd.concat([read_table(part) for part in paths], ignore_index=True)
    write_table(path, table.assign(dataset=dataset))
