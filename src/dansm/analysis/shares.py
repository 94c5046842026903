"""What matching adds to a training step."""

import pandas as pd


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
