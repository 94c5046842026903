"""Distances of finished runs, made comparable where their sets of images differ."""

import pandas as pd

_RUN = ["process", "coupling", "match_size", "seed"]
_MEASURED = [*_RUN, "feature_extractor"]


def final_distances(table: pd.DataFrame) -> pd.DataFrame:
    """Return the Fréchet distances of each run's last snapshot, `without_range_effects`.

    Parameters
    ----------
    table
        Distances of one dataset, with the columns of `dansm.io.tables.COLUMNS`.
    """
    rows = table[table["metric"] == "frechet_distance"].dropna(subset=["images_seen"])
    last = rows.groupby(_RUN)["images_seen"].transform("max")
    return without_range_effects(rows[rows["images_seen"] == last])


def without_range_effects(rows: pd.DataFrame) -> pd.DataFrame:
    """Take out of Fréchet distances what the set of images adds or subtracts.

    Some noises make better images than others, hardly depending on the method and the number of
    steps; with 500 images a set, a column of the digits' table moves by several units. Long
    sampling is measured on fewer sets than the rest, so each set's effect is subtracted: its
    distance less the mean over all sets, with the most steps that a run has on all of them (a
    control variate). Means over all sets stay what they are.

    Parameters
    ----------
    rows
        Fréchet distances of the last snapshots of runs, one row a set, with the columns of
        `dansm.io.tables.COLUMNS`.
    """
    of_steps = rows.groupby([*_MEASURED, "sampler", "steps"], dropna=False)["seed_range"]
    of_run = rows.groupby(_MEASURED)["seed_range"]
    everywhere = rows[of_steps.transform("nunique") == of_run.transform("nunique")]
    # Adaptive samplers have no number of steps.
    ordered = everywhere.sort_values(["steps", "sampler"], na_position="first")
    values = ordered.groupby([*_MEASURED, "seed_range"])["value"].last().astype(float)
    effects = (values - values.groupby(_MEASURED).transform("mean")).rename("effect").reset_index()
    effect = rows[[*_MEASURED, "seed_range"]].merge(effects, how="left")["effect"].fillna(0)
    return rows.assign(value=rows["value"].astype(float) - effect.to_numpy(float))
