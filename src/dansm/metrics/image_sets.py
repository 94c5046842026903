"""Values of finished models, made comparable where their sets of images differ."""

import pandas as pd

_MEASURED = ["run", "seed", "metric", "feature_extractor"]


def final_distances(table: pd.DataFrame, metric: str = "frechet_distance") -> pd.DataFrame:
    """Return a metric of each run's last snapshot, without what sets of images add or subtract.

    Some noises make better images than others, hardly depending on the method and the number of
    steps; with 500 images a set, a column of the digits' table moves by several units. Long
    sampling is measured on fewer sets than the rest, so each set's effect is subtracted: its
    distance less the mean over all sets, with the most steps that a run has on all of them (a
    control variate). Means over all sets stay what they are.

    Parameters
    ----------
    table
        Of one dataset, with the columns of `dansm.io.tables.DISTANCE_COLUMNS` or more.
    """
    rows = table[table["metric"] == metric].dropna(subset=["images_seen"])
    last = rows.groupby(["run", "seed"])["images_seen"].transform("max")
    rows = rows[rows["images_seen"] == last]
    of_steps = rows.groupby([*_MEASURED, "sampler", "steps"], dropna=False)["image_set"]
    of_run = rows.groupby(_MEASURED)["image_set"]
    everywhere = rows[of_steps.transform("nunique") == of_run.transform("nunique")]
    # Adaptive samplers have no number of steps.
    ordered = everywhere.sort_values(["steps", "sampler"], na_position="first")
    values = ordered.groupby([*_MEASURED, "image_set"])["value"].last().astype(float)
    effects = (values - values.groupby(_MEASURED).transform("mean")).rename("effect").reset_index()
    effect = rows[[*_MEASURED, "image_set"]].merge(effects, how="left")["effect"].fillna(0)
    return rows.assign(value=rows["value"].astype(float) - effect.to_numpy(float))
