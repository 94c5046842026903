"""Distances that are measured on different sets of images, made comparable."""

import pandas as pd

_RUN = ["process", "coupling", "match_size", "seed", "feature_extractor"]


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
        `dansm.evaluation.table.COLUMNS`.
    """
    of_steps = rows.groupby([*_RUN, "sampler", "steps"], dropna=False)["seed_range"]
    of_run = rows.groupby(_RUN)["seed_range"]
    everywhere = rows[of_steps.transform("nunique") == of_run.transform("nunique")]
    anchors = everywhere.sort_values(["steps", "sampler"]).groupby([*_RUN, "seed_range"])
    values = anchors["value"].last().astype(float)
    effects = (values - values.groupby(_RUN).transform("mean")).rename("effect").reset_index()
    effect = rows[[*_RUN, "seed_range"]].merge(effects, how="left")["effect"].fillna(0)
    return rows.assign(value=rows["value"].astype(float) - effect.to_numpy(float))
