"""The table of what finished models remember, and of what held-out images would."""

import pandas as pd

from dansm.analysis.distances import summarise
from dansm.catalogue import METRICS
from dansm.errors import InputError


def memorising_table(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary that compare training with held-out images.

    Beside each run's stand those of held-out images themselves, without a run.

    Parameters
    ----------
    distances
        With `dansm.io.tables.COMPARISON_COLUMNS`.

    Raises
    ------
    InputError
        If there are none.
    """
    summary = summarise(distances)
    rows = summary[summary["metric"].isin([n for n, one in METRICS.items() if one.memorising])]
    if rows.empty:
        raise InputError(
            "memorising: expected comparisons with held-out images, found "
            f"{sorted(set(distances['metric']))}"
        )
    return rows
