"""Claims: statements, and what measures each."""

from typing import Annotated, Literal

from pydantic import Field

from dansm.catalogue import METRICS, SPACES
from dansm.config.base import AtLeast2, Count, MatchSize, Model, Name, Names, Number, name_of


class DistanceMeasure(Model):
    """Of the finished models of runs: by which metric, sampler and number of steps."""

    sampler: Name
    steps: Count | None = Field(default=None, description="None: the sampler's own")
    metric: name_of("metric", METRICS) = "frechet_distance"
    features: name_of("features", SPACES) | None = Field(
        default=None, description="Or pixels, where these are compared; none: the dataset's first"
    )

    @property
    def runs_named(self) -> list[str]:
        """The runs that it is about."""
        single = [getattr(self, key, None) for key in ("run", "than")]
        return [*getattr(self, "runs", []), *(name for name in single if name)]


class Saving(DistanceMeasure):
    """Saving, in percent, at the quality of the baseline at its end; seed by seed."""

    kind: Literal["saving"]
    of: Literal["images", "seconds"] = "images"
    run: Name


class DistanceRatio(DistanceMeasure):
    """Final value of a run as a multiple of another's; seed by seed, geometric mean."""

    kind: Literal["distance_ratio"]
    run: Name
    than: Name


class DistanceFactor(DistanceMeasure):
    """Factor of the final value by each tenfold match size of some runs; seed by seed."""

    kind: Literal["distance_factor"]
    runs: Annotated[Names, Field(min_length=2)]


class ShareOfStep(Model):
    """Time that matching adds to a vanilla training step, in percent of it; round by round."""

    kind: Literal["matching_share"]
    match_size: AtLeast2
    how: Literal["inline", "ahead"]


class NearestShare(Model):
    """How much more often than chance a preferable noise is the nearest of its batch."""

    kind: Literal["nearest_share"]


class PathRatio(Model):
    """A quantity of paths as a multiple of that of random pairs; model by model."""

    kind: Literal["path_ratio"]
    quantity: Literal["path_length", "inter_path_average", "inter_path_minimum"]
    pairs: Literal["matched", "preferable"]
    match_size: MatchSize = Field(default=0, description="Of the matched pairs")


class CrossingRatio(Model):
    """Crossings in the plane as a multiple of those of random pairs; model by model."""

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
    threshold: Number
    comparisons: Names | None = Field(
        default=None, description="Of which; none: of all that have its runs"
    )
