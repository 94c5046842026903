"""Values of finished models, made comparable where their sets of images differ."""

import pandas as pd

# What a final value is of; a sampler's own steps are 0, and what is compared with no real images
# has an empty reference.
KEY = ["run", "seed", "sampler", "steps", "metric", "feature_extractor", "reference"]
_MEASURED = ["run", "seed", "metric", "feature_extractor", "reference"]


def last_snapshots(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of each run's last snapshot, with nothing missing in `KEY`."""
    rows = table.dropna(subset=["run", "images_seen"])
    last = rows.groupby(["run", "seed"])["images_seen"].transform("max")
    return rows[rows["images_seen"] == last].fillna({"steps": 0, "reference": ""})


def final_values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the values of each run's last snapshot on each set of images.

    This is the one definition of what a run reaches; summaries have it from here, and all else from
    them. Some noises make better images than others, hardly depending on the method and the number
    of steps; with 500 images a set, a column of the digits' table moves by several units. Long
    sampling is measured on fewer sets than the rest, so that its values on the others are filled
    in: they differ from those that it has as the values with the most steps that the run has on
    all sets do (a control variate).

    Parameters
    ----------
    table
        With the columns of `dansm.io.tables.DISTANCE_COLUMNS` or more.

    Returns
    -------
    pandas.DataFrame
        Index `KEY`, a column for each set; NaN where a run has not so many.
    """
    rows = last_snapshots(table)
    wide = rows.set_index([*KEY, "image_set"])["value"].astype(float).unstack("image_set")
    parts = [_filled(of_run) for _, of_run in wide.groupby(_MEASURED)]
    return pd.concat(parts) if parts else wide


def _filled(values: pd.DataFrame) -> pd.DataFrame:
    """Fill in the sets that some samplers and step counts of a run lack."""
    values = values.dropna(axis=1, how="all")
    everywhere = values.dropna()
    if everywhere.empty:
        return values
    # Adaptive samplers have no number of steps.
    control = everywhere.sort_index(level=["steps", "sampler"]).iloc[-1]
    beside = values.sub(control).mean(axis=1)
    return values.apply(lambda of_set: of_set.fillna(control[of_set.name] + beside))
