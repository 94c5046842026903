"""Claims: statements, what was measured of each, and whether that bears them out.

A claim is *supported* if the whole interval of what measures it is on its side of the threshold,
*not supported* if the whole interval is on the other side, and *undecided* otherwise: where the
interval holds the threshold, where there is none, where a result is missing, or where fewer than
three seeds say something of training. The claims of a table are judged together: by intervals that
are corrected for their number, so that the verdicts of a table are all right in 95 % of studies.
"""

from collections.abc import Callable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from dansm.analysis.distances import seed_values, shared
from dansm.analysis.shares import matching_shares
from dansm.catalogue import METRICS, SPACES
from dansm.config import (
    Claim,
    CrossingRatio,
    DistanceFactor,
    DistanceMeasure,
    DistanceRatio,
    Measure,
    NearestShare,
    PathRatio,
    Saving,
    ShareOfStep,
    SimilarityGain,
)
from dansm.io.load import doubt
from dansm.io.tables import (
    CLAIM_COLUMNS,
    CROSSING_COLUMNS,
    MATCHING_SHARE_COLUMNS,
    PATH_COLUMNS,
    REPRODUCIBILITY_COLUMNS,
    SPEED_COLUMNS,
    SUMMARY_COLUMNS,
    compared_with,
    read_table,
    write_table,
)
from dansm.metrics.intervals import Interval, corrected, crossed_interval, student_interval

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
VERDICTS = (SUPPORTED, NOT_SUPPORTED, UNDECIDED)
_OVER_SEEDS = "Student's interval over {n} seeds"
_OVER_MODELS = "Student's interval over {n} models, each the mean over its draws"
_LEAST_SEEDS = 3
# What is said of training, and so of more than one model.
_OF_TRAINING = (DistanceMeasure, NearestShare, PathRatio, CrossingRatio)

# Tables by what they hold, see `measure_claims`; of a kind there may be several, or none.
Sources = Mapping[str, Sequence[Path]]
_COLUMNS = {
    "summary": SUMMARY_COLUMNS,
    "speed": SPEED_COLUMNS,
    "matching_share": MATCHING_SHARE_COLUMNS,
    "paths": PATH_COLUMNS,
    "crossings": CROSSING_COLUMNS,
    "reproducibility": REPRODUCIBILITY_COLUMNS,
}


Found = TypeVar("Found", bound=Sized)


class Scale(NamedTuple):
    """From values to what an interval of them is Student's of, and back; both increase."""

    to: Callable[[float], float] = float
    back: Callable[[float], float] = float


_LINEAR, _LOGARITHMIC = Scale(), Scale(np.log, np.exp)
# From a saving in percent to the logarithm of how much more the baseline takes.
_SPEED_UP = Scale(
    lambda saving: np.inf if saving == 100 else -np.log1p(-saving / 100),
    lambda speed_up: -100 * np.expm1(-speed_up),
)


class Measured(NamedTuple):
    """A value with its 95 % interval, how many measurements it is of, and what the interval is.

    ``degrees`` are those of freedom; none: one less than the measurements. ``doubt`` says why it
    cannot be judged by, if so.
    """

    interval: Interval
    n: int
    how: str
    scale: Scale = _LINEAR
    degrees: float | None = None
    doubt: str | None = None

    def corrected(self, tests: int) -> Interval:
        """Return the interval at the level that many tests share."""
        degrees = self.n - 1 if self.degrees is None else self.degrees
        interval = Interval(*map(self.scale.to, self.interval))
        return Interval(*map(self.scale.back, corrected(interval, degrees, tests)))


class Against(NamedTuple):
    """Whose features distances are over, and to which real images they are."""

    extractor: str
    reference: str


class MissingResultError(Exception):
    """What a claim needs is not there, or says nothing; the message tells what."""


def measure_claims(
    claims: Sequence[Claim],
    sources: Sources,
    *,
    dataset: str,
    extractor: str,
    reference: str,
    path: Path,
) -> None:
    """Judge claims of a comparison, and write a table with `CLAIM_COLUMNS`.

    Parameters
    ----------
    claims
        One row each, in their order.
    sources
        Tables ``summary`` of finished models, ``speed`` of training, ``matching_share``, ``paths``,
        ``crossings`` and ``reproducibility``. What is missing leaves claims undecided.
    dataset
        Its name.
    extractor, reference
        Whose features the distances are over, and to which real images they are.
    path
        The table.
    """
    against = Against(extractor, reference)
    rows = [row | {"dataset": dataset} for row in judge(claims, sources, against)]
    write_table(path, rows, CLAIM_COLUMNS)


def judge(claims: Sequence[Claim], sources: Sources, against: Against) -> list[dict[str, Any]]:
    """Return a row of the table for each claim, ``dataset`` excepted."""
    found: list[Measured | MissingResultError] = []
    for claim in claims:
        try:
            found.append(_MEASURES[type(claim.measure)](claim.measure, sources, against))
        except MissingResultError as missing:
            found.append(missing)
    reasons = [_undecidable(claim, one) for claim, one in zip(claims, found, strict=True)]
    tests = sum(reason is None for reason in reasons)
    return [
        _judged(claim, one, reason, tests, against)
        for claim, one, reason in zip(claims, found, reasons, strict=True)
    ]


def _undecidable(claim: Claim, measured: Measured | MissingResultError) -> str | None:
    """Return why a claim cannot be judged, whatever was found, if it cannot."""
    if isinstance(measured, MissingResultError):
        return str(measured)
    if isinstance(claim.measure, _OF_TRAINING) and measured.n < _LEAST_SEEDS:
        seeds = f"{measured.n} seed{'s' if measured.n > 1 else ''}"
        return f"{seeds}; a verdict on training takes {_LEAST_SEEDS}"
    if np.isnan(measured.interval).any():
        return "one measurement has no interval"
    return measured.doubt


def _judged(
    claim: Claim,
    measured: Measured | MissingResultError,
    undecidable: str | None,
    tests: int,
    against: Against,
) -> dict[str, Any]:
    measure = claim.measure
    # What is remembered is measured by images of both parts.
    of_one = isinstance(measure, DistanceMeasure) and not METRICS[measure.metric].memorising
    row: dict[str, Any] = {
        "name": claim.name,
        "claim": claim.text,
        "source": claim.source,
        "measure": describe(measure),
        "reference": against.reference if of_one else None,
        "direction": claim.direction,
        "threshold": claim.threshold,
    }
    if isinstance(measured, Measured):
        row |= measured.interval._asdict() | {"n": measured.n}
        row["value"] = row.pop("mean")
    if undecidable is not None:
        return row | {"verdict": UNDECIDED, "why": undecidable}
    _, low, high = measured.corrected(tests)
    found, reason = verdict(low, high, claim.direction, claim.threshold)
    why = f"{reason}; {measured.how.format(n=measured.n)}, for {tests} claims together"
    return row | {"corrected_low": low, "corrected_high": high, "verdict": found, "why": why}


def verdict(low: float, high: float, direction: str, threshold: float) -> tuple[str, str]:
    """Return the verdict on an interval, and the reason; ends at the threshold decide nothing."""
    side = "above" if low > threshold else "below" if high < threshold else None
    if side is None:
        return UNDECIDED, "the interval holds the threshold"
    return (
        SUPPORTED if side == direction else NOT_SUPPORTED,
        f"the interval is {side} the threshold",
    )


def describe(measure: Measure) -> str:
    """Return in words what a measure measures, with its unit."""
    at = ""
    if isinstance(measure, DistanceMeasure):
        steps = "" if measure.steps is None else f", {measure.steps} steps"
        space = "" if measure.features is None else f", {SPACES[measure.features].title}"
        at = f" ({METRICS[measure.metric].title}{space}, {measure.sampler}{steps})"
    match measure:
        case Saving():
            return f"saving in {measure.of}, %, of {measure.run}{at}"
        case DistanceRatio():
            return f"value of {measure.run} / of {measure.than}{at}"
        case DistanceFactor():
            return f"factor of the value by a tenfold match size{at}"
        case ShareOfStep():
            how = {"inline": "before each step", "ahead": "ahead of training"}[measure.how]
            return f"time added to a step, %, match size {measure.match_size:,}, {how}"
        case NearestShare():
            return "share of preferable noises that are their batch's nearest / chance"
        case PathRatio():
            return f"{measure.quantity} of {_pairs(measure)} pairs / of random ones"
        case CrossingRatio():
            return f"crossings of {_pairs(measure)} pairs / of random ones"
        case SimilarityGain():
            return "similarity of images of one noise less that of shuffled pairs"


def _pairs(measure: PathRatio | CrossingRatio) -> str:
    return f"{measure.pairs} ({measure.match_size:,})" if measure.match_size else measure.pairs


def _read(sources: Sources, kind: str) -> pd.DataFrame:
    """Read and join a kind's tables."""
    if not sources.get(kind):
        raise MissingResultError(f"no table of {kind} is made for this comparison")
    for path in sources[kind]:
        if not Path(path).exists():
            raise MissingResultError(f"{path}: found no file")
    tables = [read_table(path, _COLUMNS[kind]) for path in sources[kind]]
    return pd.concat(tables, ignore_index=True)


def _saving(measure: Saving, sources: Sources, against: Against) -> Measured:
    rows = _measured(_read(sources, "speed"), measure, against)
    rows = _some(rows[rows["run"] == measure.run], f"no curve of {measure.run} beside its baseline")
    row = rows.iloc[0]
    prefix = {"images": "saving", "seconds": "seconds_saving"}[measure.of]
    names = [f"{prefix}_{name}" for name in ("percent", "low", "high")]
    values = row[names].astype("Float64").to_numpy(float, na_value=np.nan)
    if np.isnan(values[0]):
        raise MissingResultError(f"the table of training speed has no {measure.of}")
    how = _OVER_SEEDS
    if row["seeds_at_least"] > 0:
        how += f", at least so much in {row['seeds_at_least']}"
    if row["seeds_at_most"] > 0:
        how += f", at most so much in {row['seeds_at_most']}"
    unsure = None if measure.of == "images" or pd.isna(row["doubt"]) else row["doubt"]
    return Measured(Interval(*values), int(row["seeds"]), how, _SPEED_UP, doubt=unsure)


def _distance_ratio(measure: DistanceRatio, sources: Sources, against: Against) -> Measured:
    finals = _finals(measure, sources, against)
    for name in (measure.run, measure.than):
        _some([run for run in finals if run == name], f"no value of {name}")
    run, than = shared([finals[measure.run].values, finals[measure.than].values])
    _some(run, f"no seed of both {measure.run} and {measure.than}")
    return _ratio(np.log(run) - np.log(than))


def _distance_factor(measure: DistanceFactor, sources: Sources, against: Against) -> Measured:
    finals = [one for one in _finals(measure, sources, against).values() if one.match_size > 0]
    sizes = sorted(one.match_size for one in finals)
    if len(sizes) < 2:
        raise MissingResultError(f"no two match sizes of {', '.join(measure.runs)}")
    logs = np.log(shared([one.values for one in finals]))
    _some(logs[0], f"no seed of all match sizes of {', '.join(measure.runs)}")
    places = np.log10([one.match_size for one in finals])
    # The slope of a line through the logarithms, by least squares.
    weights = (places - places.mean()) / np.square(places - places.mean()).sum()
    found = _ratio(np.tensordot(weights, logs, 1))
    return found._replace(how=f"{found.how}, match sizes {', '.join(map(str, sizes))}")


def _share_of_step(measure: ShareOfStep, sources: Sources, against: Against) -> Measured:
    table = matching_shares(_read(sources, "matching_share"))
    shares = table.loc[table["match_size"] == measure.match_size, measure.how]
    _some(shares, f"match size {measure.match_size} was not timed")
    first = table.iloc[0]
    machine = first["processor"] if first["device"] == "cpu" else first["device"]
    how = f"Student's interval over {{n}} rounds on {machine}"
    unsure = doubt(table["busy_others"].astype(float).tolist())
    return Measured(student_interval(shares), len(shares), how, doubt=unsure)


def _nearest_share(measure: NearestShare, sources: Sources, against: Against) -> Measured:
    table = _read(sources, "paths")
    rows = table[(table["kind"] == "preferable") & (table["quantity"] == "nearest_share")]
    _some(rows, "no preferable noises: no trained vanilla model")
    rows = rows[rows["pairs"] == rows["pairs"].max()]
    # In a batch of n, one noise in n is the nearest by chance.
    times_chance = rows["value"].astype(float) * rows["pairs"].astype(float)
    of_model = times_chance.groupby(rows["seed"]).mean()
    how = f"{_OVER_MODELS}, batches of {rows['pairs'].iloc[0]}"
    return Measured(student_interval(of_model), len(of_model), how)


def _path_ratio(measure: PathRatio, sources: Sources, against: Against) -> Measured:
    table = _read(sources, "paths")
    both = _of_pairs(table[table["quantity"] == measure.quantity], measure, "value")
    logs = np.log(both["kind"]) - np.log(both["random"])
    return _ratio(logs.to_numpy()[:, None])._replace(how=_OVER_MODELS)


def _crossing_ratio(measure: CrossingRatio, sources: Sources, against: Against) -> Measured:
    both = _of_pairs(_read(sources, "crossings"), measure, "crossings")
    random = float(both["random"].mean())
    _some(both if random else [], "random pairs do not cross")
    # A model's pairs may have no crossing, so differences are taken, over the random mean.
    gap = student_interval((both["kind"] - both["random"]) / random)
    found = Interval(*(1 + end for end in gap))
    return Measured(found, len(both), f"{_OVER_MODELS}, of differences")


def _similarity_gain(measure: SimilarityGain, sources: Sources, against: Against) -> Measured:
    rows = _some(_read(sources, "reproducibility"), "no two models trained apart")
    gain = (rows["similarity"] - rows["shuffled"]).astype(float)
    # The two intervals' ends furthest apart, of whichever pair of models they are widest for.
    low = (rows["low"] - rows["shuffled_high"]).astype(float).min(skipna=False)
    high = (rows["high"] - rows["shuffled_low"]).astype(float).max(skipna=False)
    how = f"outer bounds over {len(rows)} pairs of models, {{n}} images or more each"
    found = Interval(gain.mean(), low, high)
    return Measured(found, int(rows["images"].min()), how, degrees=np.inf)


_MEASURES: dict[type, Callable[[Any, Sources, Against], Measured]] = {
    Saving: _saving,
    DistanceRatio: _distance_ratio,
    DistanceFactor: _distance_factor,
    ShareOfStep: _share_of_step,
    NearestShare: _nearest_share,
    PathRatio: _path_ratio,
    CrossingRatio: _crossing_ratio,
    SimilarityGain: _similarity_gain,
}


class Final(NamedTuple):
    """What a finished run has: its values, a row a seed and a column a set of images."""

    match_size: int
    values: pd.DataFrame


def _finals(measure: DistanceMeasure, sources: Sources, against: Against) -> dict[str, Final]:
    """Return what the runs of a measure have, as the summary says it."""
    rows = _measured(_read(sources, "summary"), measure, against)
    rows = rows[rows["run"].isin(measure.runs_named)]
    finals = {
        row.run: Final(int(row.match_size), seed_values(row.by_seed)) for row in rows.itertuples()
    }
    if any((one.values <= 0).any(axis=None) for one in finals.values()):
        raise MissingResultError("values that are not positive have no ratios")
    return finals


def _measured(table: pd.DataFrame, measure: DistanceMeasure, against: Against) -> pd.DataFrame:
    steps = table["steps"].isna() if measure.steps is None else table["steps"] == measure.steps
    table = table[
        (table["metric"] == measure.metric)
        & (table["sampler"] == measure.sampler)
        & steps.fillna(False)
        & (table["feature_extractor"] == (measure.features or against.extractor))
    ]
    return compared_with(table, against.reference)


def _of_pairs(table: pd.DataFrame, measure: PathRatio | CrossingRatio, column: str) -> pd.DataFrame:
    """Return, for each model, a column's means of the pairs asked for and of random ones."""
    chosen = table["kind"] == measure.pairs
    if measure.pairs == "matched":
        chosen &= table["match_size"] == measure.match_size
    _some(table[chosen], f"no {_pairs(measure)} pairs")
    _some(table[table["seed"].notna()], "stored samples: no model made these pairs")
    values = table[column].astype(float)
    kinds = {"kind": chosen, "random": table["kind"] == "random"}
    means = {
        name: values[rows].groupby(table.loc[rows, "seed"]).mean() for name, rows in kinds.items()
    }
    return _some(pd.DataFrame(means).dropna(), "no model with both kinds of pairs")


def _ratio(logarithms: np.ndarray) -> Measured:
    """Return the geometric mean of ratios, given as logarithms by seed and set of images."""
    seeds, sets = logarithms.shape
    *found, degrees = map(float, crossed_interval(logarithms))
    interval = Interval(*(float(np.exp(end)) for end in found))
    how = f"interval over {seeds} seeds and {sets} sets of images" if sets > 1 else _OVER_SEEDS
    return Measured(interval, seeds, how, _LOGARITHMIC, degrees)


def _some(found: Found, otherwise: str) -> Found:
    """Return what was found, if it is not empty."""
    if len(found) == 0:
        raise MissingResultError(otherwise)
    return found
