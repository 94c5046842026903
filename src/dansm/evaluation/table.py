"""The tidy table of distances: one row a measurement."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from dansm.errors import InputError
from dansm.files import atomic_path

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


def write_table(path: Path, rows: pd.DataFrame) -> None:
    """Write rows of distances, sorted, in the order of `COLUMNS`; missing columns stay empty."""
    table = rows.reindex(columns=list(COLUMNS)).astype(COLUMNS)
    table = table.sort_values(list(COLUMNS), kind="stable")
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def read_table(path: Path, extra: Mapping[str, str] = MappingProxyType({})) -> pd.DataFrame:
    """Read a table of distances, which has ``extra`` columns (name: type) behind the usual ones.

    Raises
    ------
    InputError
        If the file is missing, has other columns or values that don't fit them.
    """
    columns = {**COLUMNS, **extra}
    try:
        header = pd.read_csv(path, nrows=0).columns.tolist()
        if header != list(columns):
            raise InputError(f"{path}: expected columns {list(columns)}, found {header}")
        return pd.read_csv(path, dtype=columns)
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a table of distances, found no file") from error
    except (ValueError, pd.errors.EmptyDataError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: expected a table of distances, found {error}") from error


def collect_tables(paths: Sequence[Path], dataset: str, path: Path) -> None:
    """Join tables of distances into one of a dataset.

    Rows of the real images carry the name of the pixel dataset; in the table of its latents they
    stand for those.
    """
    table = pd.concat([read_table(part) for part in paths], ignore_index=True)
    write_table(path, table.assign(dataset=dataset))
