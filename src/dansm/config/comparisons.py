"""Comparisons: which runs are compared, with which baseline, in which figures."""

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool

from dansm.config.base import Model, Name, Names, Seeds, distinct
from dansm.config.runs import Plan

Condition = Literal["recipe", "budget_images", "n_samples", "sampling"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class OwnSampling(Model):
    """How a comparison samples the finished models of its runs, whatever their recipes say."""

    final: Plan = Field(min_length=1, description="On all sets of images")
    final_one_set: Plan = Field(default={}, description="On the first set")


class ComparisonEntry(Model):
    """What the configuration says of a comparison; what is left out follows from the dataset."""

    dataset: Name | None = Field(default=None, description="None: that of the comparison's name")
    runs: Names | None = Field(default=None, description="None: all of the dataset")
    baseline: (
        Annotated[Names, BeforeValidator(_as_list, json_schema_input_type=Name | Names)] | None
    ) = Field(
        default=None,
        description="One run of each process and its options, with which the others are "
        "compared; none: the first",
    )
    seeds: Seeds | None = Field(default=None, description="None: all that each run has")
    sampling: OwnSampling | None = Field(
        default=None,
        description="How its finished models are sampled; none: as their recipes say",
    )
    unequal: Annotated[list[Condition], AfterValidator(distinct)] = Field(
        default=[], description="Conditions in which its runs may differ; its tables say so"
    )
    figures: Annotated[list[Name], AfterValidator(distinct)] | None = Field(
        default=None, description="Of it or of its dataset; none: all of comparisons"
    )
    in_all: StrictBool = Field(
        default=True, description="Whether the target all makes it, or only its own files' names do"
    )


class Comparison(Model):
    """Runs of a dataset that are compared, with all that an entry leaves out filled in.

    Attributes
    ----------
    baselines
        By process, the run with which the others are compared.
    seeds
        By run.
    sampling
        How the finished models are sampled; None: as their recipes say.
    unequal
        Conditions in which the runs do differ.
    figures
        Names of figures, of it or of its dataset; None: all of comparisons.
    in_all
        Whether the target all makes it; of the dataset's own one, also what is of the dataset.
    """

    name: Name
    dataset: Name
    runs: list[Name]
    baselines: dict[str, Name]
    seeds: dict[Name, list[int]]
    sampling: OwnSampling | None
    unequal: list[Condition]
    figures: list[Name] | None
    in_all: bool

    @property
    def is_default(self) -> bool:
        """Whether it is its dataset's own, which what is measured of the dataset belongs to."""
        return self.name == self.dataset
