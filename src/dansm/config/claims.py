"""Claims: statements, and what measures each."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictInt

from dansm.catalogue import METRICS
from dansm.config.base import Count, MatchSize, Model, Name, Names


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; expected one of {sorted(METRICS)}")
    return name


class DistanceMeasure(Model):
    """Of the finished models of runs: by which metric, sampler and number of steps."""

    sampler: Name
    steps: Count | None = Field(default=None, description="None: the sampler's own")
    metric: Annotated[
        str, AfterValidator(_known_metric), Field(json_schema_extra={"enum": [*METRICS]})
    ] = "frechet_distance"

    @property
    def runs_named(self) -> list[str]:
        """The runs that it is about."""
        return []


class Saving(DistanceMeasure):
    """Saving, in percent, at the quality of the baseline at its end; seed by seed."""

    kind: Literal["saving"]
    of: Literal["images", "seconds"] = "images"
    run: Name

    @property
    def runs_named(self) -> list[str]:
        """The run."""
        return [self.run]


class DistanceRatio(DistanceMeasure):
    """Final value of a run as a multiple of another's; seed by seed, geometric mean."""

    kind: Literal["distance_ratio"]
    run: Name
    than: Name

    @property
    def runs_named(self) -> list[str]:
        """The run and the other."""
        return [self.run, self.than]


class DistanceFactor(DistanceMeasure):
    """Factor of the final value by each tenfold match size of some runs; seed by seed."""

    kind: Literal["distance_factor"]
    runs: Names

    @property
    def runs_named(self) -> list[str]:
        """The runs."""
        return self.runs


class ShareOfStep(Model):
    """Time that matching adds to a vanilla training step, in percent of it; round by round."""

    kind: Literal["matching_share"]
    match_size: Annotated[StrictInt, Field(ge=2)]
    how: Literal["inline", "ahead"]


class NearestShare(Model):
    """How much more often than chance a preferable noise is the nearest of its batch."""

    kind: Literal["nearest_share"]


class PathRatio(Model):
    """A quantity of paths as a multiple of that of random pairs; draw by draw."""

    kind: Literal["path_ratio"]
    quantity: Literal["path_length", "inter_path_average", "inter_path_minimum"]
    pairs: Literal["matched", "preferable"]
    match_size: MatchSize = Field(default=0, description="Of the matched pairs")


class CrossingRatio(Model):
    """Crossings in the plane as a multiple of those of random pairs, means over draws."""

    kind: Literal["crossing_ratio"]
    pairs: Literal["matched", "preferable"]
    match_size: MatchSize = Field(default=0, description="Of the matched pairs")


class SimilarityGain(Model):
    """Similarity of images that models trained apart make of the same noise, above shuffled."""

    kind: Literal["similarity_gain"]


Measure = Annotated[
    Saving
    | DistanceRatio
    | DistanceFactor
    | ShareOfStep
    | NearestShare
    | PathRatio
    | CrossingRatio
    | SimilarityGain,
    Field(discriminator="kind"),
]


class Claim(Model):
    """A statement, what measures it, and on which side of a threshold that must be."""

    name: Name
    text: str = Field(description="The statement in our words")
    source: str = Field(description="Who makes it, and where")
    measure: Measure
    direction: Literal["above", "below"]
    threshold: Annotated[float, Field(allow_inf_nan=False)]
    comparisons: Names | None = Field(
        default=None, description="Of which; none: of all that have its runs"
    )
