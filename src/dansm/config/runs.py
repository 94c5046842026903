"""Runs: what is trained and sampled, from entries of the configuration to resolved settings."""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, ValidationError, model_validator

from dansm.catalogue import COUPLINGS, SOLVERS, Pick
from dansm.config.base import (
    Count,
    CouplingPick,
    Fraction,
    LossPick,
    Model,
    Name,
    Positive,
    ProcessPick,
    Seed,
    Seeds,
    Shape,
    SolverPick,
    TimesPick,
)

Plan = dict[Name, list[Count]]


class Network(Model):
    """A diffusers ``UNet2DModel`` preset; the dataset's shape completes it."""

    channels: list[Count] = Field(min_length=1, description="Channels of each level")
    layers_per_block: Count
    attention_at: list[Count] = Field(description="Image heights that get self-attention")
    dropout: Fraction
    norm_groups: Count

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> "Network":
        bad = [c for c in self.channels if c % self.norm_groups]
        if bad:
            raise ValueError(
                f"norm_groups {self.norm_groups} must divide every channel count, {bad}"
            )
        return self


class Hardware(Model):
    """What one training or evaluation job asks of the machine or the cluster."""

    threads: Count
    mem_mb: Count
    runtime: Count = Field(description="Minutes")
    gpu: Annotated[StrictInt, Field(ge=0, description="Training processes, each with a GPU")]


class Sampling(Model):
    """How snapshots are sampled: step counts by sampler, none where the sampler has its own."""

    each_snapshot: Plan = Field(description="Of every snapshot, for curves")
    final: Plan = Field(description="Of the finished model, on all sets of images")
    final_one_set: Plan = Field(
        default={}, description="Of the finished model, on the first set: what takes long"
    )
    # Precision and recall look at each image's third neighbour.
    n_samples: Annotated[StrictInt, Field(ge=4)] = Field(description="Images of a set")
    batch_size: Count
    image_sets: Count = Field(description="Disjoint sets of images of the finished model")
    keep_png: bool = Field(
        default=False, description="Also write the finished model's images as PNG"
    )
    samplers: dict[Name, SolverPick] = Field(
        default={}, description="What the samplers are; filled in from the section samplers"
    )

    @property
    def names(self) -> set[str]:
        """Names of all samplers in the plans."""
        return {*self.each_snapshot, *self.final, *self.final_one_set}

    def sets(self, last: bool) -> list[tuple[str, int, int]]:
        """Return sampler, steps (0: its own) and number of image sets of a snapshot's samples."""
        plans = [(self.each_snapshot, 1)]
        if last:
            plans = [(self.final, self.image_sets), (self.final_one_set, 1)]
        sets: dict[tuple[str, int], int] = {}
        for plan, count in plans:
            for sampler, steps in plan.items():
                for number in steps or [0]:
                    sets.setdefault((sampler, number), count)
        return [(*key, count) for key, count in sets.items()]

    @property
    def longest(self) -> tuple[str, int]:
        """Sampler and steps nearest to the exact solution: an adaptive one, or most steps."""
        sets = [(sampler, steps) for sampler, steps, _ in self.sets(last=True)]
        return max(
            sets,
            key=lambda chosen: (SOLVERS[self.samplers[chosen[0]].name].adaptive, *chosen[::-1]),
        )


class Recipe(Model):
    """Everything of a run but its process, its coupling, its times and its loss."""

    network: Name
    batch_size: Count
    learning_rate: Positive
    ema_decay: Fraction
    gradient_clip: Positive
    mixed_precision: Literal["no", "bf16"]
    channels_last: StrictBool = Field(
        default=False, description="Train with channels innermost in memory (NHWC)"
    )
    compile: StrictBool = Field(
        default=False, description="Train a network compiled by torch.compile; full scale only"
    )
    budget_images: Count = Field(description="Training images seen in all")
    snapshots: Count = Field(description="EMA snapshots, evenly spaced, the last at the end")
    sampling: Sampling
    hardware: Hardware

    @model_validator(mode="after")
    def _snapshots_fit(self) -> "Recipe":
        if self.budget_images < self.batch_size * self.snapshots:
            raise ValueError(
                f"budget_images {self.budget_images} must cover {self.snapshots} snapshots of at "
                f"least one batch of {self.batch_size}"
            )
        return self

    @model_validator(mode="after")
    def _processes_share_a_batch(self) -> "Recipe":
        if self.hardware.gpu and self.batch_size % self.hardware.gpu:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of the {self.hardware.gpu} GPUs "
                "that share it (hardware.gpu)"
            )
        return self


class RunChoices(Model):
    """What an entry of runs, or a cell of its grid, may say."""

    process: ProcessPick | None = None
    coupling: CouplingPick | None = None
    times: TimesPick | None = Field(default=None, description="Distribution of training times")
    loss: LossPick | None = None
    recipe: Name | None = None
    seeds: Seeds | None = None
    start: Name | None = Field(
        default=None, description="The run of the dataset whose weights it begins with"
    )
    budget_images: Count | None = None
    snapshots: Count | None = None
    n_samples: Count | None = None
    each_snapshot: Plan | None = None
    final: Plan | None = None
    final_one_set: Plan | None = None


class RunEntry(RunChoices):
    """An entry of runs: one run with a name, or several in a grid, by their names."""

    dataset: Name
    name: Name | None = None
    grid: dict[Name, RunChoices | None] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _is_named(self) -> "RunEntry":
        if (self.name is None) == (self.grid is None):
            raise ValueError("expected a name, or a grid of runs by their names")
        return self


class Run(RunChoices):
    """One training, seeds aside; its name is unique in its dataset.

    ``budget_images`` and what follows replace the recipe's.
    """

    dataset: Name
    name: Name
    process: ProcessPick
    coupling: CouplingPick = Pick("independent")
    times: TimesPick = Pick("uniform")
    loss: LossPick = Pick("squared_error")
    recipe: Name
    seeds: Seeds

    @property
    def teacher(self) -> str | None:
        """The run whose pairs it is trained on, if it is."""
        return self.coupling.options.get("teacher")

    def complete(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this run's own values in place of its.

        Raises
        ------
        pydantic.ValidationError
            If they do not go together.
        """
        values = recipe.model_dump()
        own = self.model_dump(exclude_none=True)
        values |= {key: own[key] for key in ("budget_images", "snapshots") if key in own}
        keys = ("n_samples", "each_snapshot", "final", "final_one_set")
        values["sampling"] |= {key: own[key] for key in keys if key in own}
        return Recipe.model_validate(values)


def expand_runs(entries: Any) -> Any:
    """Return runs, each by itself, of entries that may hold grids.

    Raises
    ------
    ValueError
        Naming what is wrong with which entry.
    """
    if not isinstance(entries, list):
        return entries
    runs: list[Run] = []
    problems: list[str] = []
    for place, content in enumerate(entries):
        if isinstance(content, Run):
            runs.append(content)
            continue
        try:
            entry = RunEntry.model_validate(content)
        except ValidationError as error:
            problems += _problems(f"runs[{place}]", error)
            continue
        shared = entry.model_dump(exclude_unset=True, exclude={"grid", "name"})
        for name, choices in (entry.grid or {entry.name: None}).items():
            own = {} if choices is None else choices.model_dump(exclude_unset=True)
            try:
                runs.append(Run.model_validate(shared | own | {"name": name}))
            except ValidationError as error:
                where = f"runs[{place}]" + (f".grid.{name}" if entry.grid else "")
                problems += _problems(where, error)
    if problems:
        raise ValueError("\n".join(problems))
    return runs


def _problems(where: str, error: ValidationError) -> list[str]:
    from dansm.config.reading import describe

    return [f"{where}.{line}" for line in describe(error, RunEntry)]


class RunSettings(Model):
    """One run of one seed, fully resolved: what training receives and ``run.json`` records.

    What the run *is*, is its `plain` form; neither its name nor where it lies belongs to it.
    """

    dataset: str
    shape: Shape
    horizontal_flips: bool = False
    process: ProcessPick
    coupling: CouplingPick = Pick("independent")
    times: TimesPick = Pick("uniform")
    loss: LossPick = Pick("squared_error")
    start: str | None = Field(
        default=None, description="The run of the same dataset and seed that gives its weights"
    )
    seed: Seed
    network: Network
    batch_size: Count
    learning_rate: float
    ema_decay: float
    gradient_clip: float
    mixed_precision: Literal["no", "bf16"] = "no"
    channels_last: bool = False
    compile: bool = False
    budget_images: Count
    snapshots: Count

    @property
    def match_size(self) -> int:
        """The coupling's match size; 0 without one."""
        return self.coupling.options.get("match_size", 0)

    @property
    def title(self) -> str:
        """The coupling as figures write it."""
        return COUPLINGS[self.coupling.name].label(self.coupling.options)

    @property
    def steps(self) -> int:
        """Optimiser steps that see ``budget_images`` images (the last batch may overshoot)."""
        return -(-self.budget_images // self.batch_size)

    def snapshot_steps(self) -> list[int]:
        """Return the optimiser steps after which a snapshot is taken; the last is the final one."""
        return [round(self.steps * k / self.snapshots) for k in range(1, self.snapshots + 1)]

    def canonical_json(self) -> str:
        """Return the plain settings as JSON with sorted keys: equal settings give equal text."""
        return json.dumps(self.plain(), sort_keys=True)
