"""Runs: what is trained and sampled, from entries of the configuration to resolved settings."""

import json
import os
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from dansm.catalogue import SOLVERS, Pick
from dansm.config.base import (
    Count,
    Counts,
    CouplingPick,
    Folder,
    Fraction,
    LearningRate,
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
    shown,
)
from dansm.config.problems import describe

Plan = dict[Name, Counts]


class Network(Model):
    """A diffusers ``UNet2DModel`` preset; the dataset's shape completes it."""

    channels: list[Count] = Field(min_length=1, description="Channels of each level")
    layers_per_block: Count
    attention_at: list[Count] = Field(description="Image heights that get self-attention")
    dropout: Fraction
    norm_groups: Count
    patch: Count = Field(
        default=1, description="Side of the squares of pixels that it sees as one of more channels"
    )
    two_times: StrictBool = Field(
        default=False, description="Conditioned on two times, as mean_flow needs"
    )

    @model_validator(mode="after")
    def _groups_divide_channels(self) -> "Network":
        bad = [c for c in self.channels if c % self.norm_groups]
        if bad:
            raise ValueError(
                f"norm_groups {self.norm_groups} must divide every channel count, {bad}"
            )
        return self

    def unet(self, shape: Shape) -> dict[str, Any]:
        """Return the arguments of ``UNet2DModel`` for samples of a shape."""
        patch = self.patch
        channels, height, width = shape[0] * patch**2, shape[1] // patch, shape[2] // patch
        attends = [height // 2**level in self.attention_at for level in range(len(self.channels))]
        return {
            "sample_size": (height, width),
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": tuple(self.channels),
            "layers_per_block": self.layers_per_block,
            "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
            # The middle block attends where any level does, as in DDPM.
            "add_attention": any(attends),
            # One head, as in DDPM and DDPM++.
            "attention_head_dim": None,
            "dropout": self.dropout,
            "norm_num_groups": self.norm_groups,
            **({"class_embed_type": "timestep"} if self.two_times else {}),
        }


class Hardware(Model):
    """What one training or evaluation job asks of the machine or the cluster."""

    threads: Count
    mem_mb: Count
    runtime: Count = Field(description="Minutes")
    gpu: Annotated[StrictInt, Field(ge=0, description="Training processes, each with a GPU")]


class Sampling(Model):
    """How snapshots are sampled: step counts by sampler, none where the sampler has its own."""

    each_snapshot: Plan = Field(description="Of every snapshot, for curves")
    final: Plan = Field(min_length=1, description="Of the finished model, on all sets of images")
    final_one_set: Plan = Field(
        default={}, description="Of the finished model, on the first set: what takes long"
    )
    # Precision and recall look at each image's third neighbour.
    n_samples: Annotated[StrictInt, Field(ge=4)] = Field(description="Images of a set")
    batch_size: Count
    image_sets: Count = Field(description="Disjoint sets of images of the finished model")
    keep_png: StrictBool = Field(
        default=False, description="Also write the finished model's images as PNG"
    )
    samplers: dict[Name, SolverPick] = Field(
        default={}, description="What the samplers are; filled in from the section samplers"
    )

    @property
    def plans(self) -> tuple[Plan, Plan, Plan]:
        """All three."""
        return self.each_snapshot, self.final, self.final_one_set

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

    def measures(self, sampler: str, steps: int | None, curve: bool) -> bool:
        """Tell whether samples of finished models are made so, and for curves of all snapshots."""
        snapshots = [True, False] if curve else [True]
        wanted = (sampler, steps or 0)
        return all(wanted in [one[:2] for one in self.sets(last)] for last in snapshots)

    @property
    def longest(self) -> tuple[str, int]:
        """Sampler and steps nearest to the exact solution: an adaptive one, or most steps."""
        sets = [(sampler, steps) for sampler, steps, _ in self.sets(last=True)]
        return max(
            sets,
            key=lambda chosen: (SOLVERS[self.samplers[chosen[0]].name].adaptive, *chosen[::-1]),
        )


class Training(Model):
    """How a network is trained."""

    batch_size: Count
    learning_rate: LearningRate
    ema_decay: Fraction
    gradient_clip: Positive
    mixed_precision: Literal["no", "bf16"] = "no"
    channels_last: StrictBool = Field(
        default=False, description="Train with channels innermost in memory (NHWC)"
    )
    compile: StrictBool = Field(
        default=False, description="Train a network compiled by torch.compile; full scale only"
    )
    budget_images: Count = Field(description="Training images seen in all")
    snapshots: Count = Field(description="EMA snapshots, evenly spaced, the last at the end")
    first_snapshot: Count | None = Field(
        default=None,
        description="Images before the first: they are evenly spaced in their logarithm then",
    )

    @property
    def steps(self) -> int:
        """Optimiser steps that see ``budget_images`` images (the last batch may overshoot)."""
        return -(-self.budget_images // self.batch_size)

    def snapshot_steps(self) -> list[int]:
        """Return the optimiser steps after which a snapshot is taken; the last is the final one."""
        if self.first_snapshot is None:
            return [round(self.steps * k / self.snapshots) for k in range(1, self.snapshots + 1)]
        first = self.first_snapshot / self.batch_size
        ratio = (self.steps / first) ** (1 / max(1, self.snapshots - 1))
        return [round(first * ratio**k) for k in range(self.snapshots)]


class Recipe(Training):
    """Everything of a run but what `Method` says."""

    network: Name
    sampling: Sampling
    hardware: Hardware

    @model_validator(mode="after")
    def _numbers_fit(self) -> "Recipe":
        if self.budget_images < self.batch_size * self.snapshots:
            raise ValueError(
                f"budget_images {self.budget_images} must cover {self.snapshots} snapshots of at "
                f"least one batch of {self.batch_size}"
            )
        if self.first_snapshot is not None:
            steps = self.snapshot_steps()
            if self.first_snapshot < self.batch_size or steps != sorted({*steps}):
                raise ValueError(
                    f"first_snapshot {self.first_snapshot}: expected a batch of {self.batch_size} "
                    f"at least, and room for {self.snapshots} snapshots up to {self.budget_images} "
                    f"images, found them after the steps {steps}"
                )
        if self.hardware.gpu and self.batch_size % self.hardware.gpu:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of the {self.hardware.gpu} GPUs "
                "that share it (hardware.gpu)"
            )
        return self


class ModelFolder(Model):
    """A model that is no run's."""

    folder: Folder

    @property
    def name(self) -> str:
        """Of the folder, wherever it lies."""
        return os.path.basename(os.path.abspath(self.folder)) or os.sep


def _one_of_both(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    try:
        return validate(value)
    except ValidationError:
        raise ValueError(
            f"expected the name of a run, or {{folder: PATH}}, found {shown(value)}"
        ) from None


Start = Annotated[Name | ModelFolder, WrapValidator(_one_of_both)]


class Method(Model):
    """What is trained: everything of a run but its recipe, its dataset and its seed."""

    process: ProcessPick
    coupling: CouplingPick = Pick("independent")
    times: TimesPick = Field(default=Pick("uniform"), description="Distribution of training times")
    loss: LossPick = Pick("squared_error")
    start: Start | None = Field(
        default=None,
        description="The run of the same dataset and seed whose weights it begins with, or a "
        "diffusers folder, as `dansm export` writes it",
    )


class Run(Method):
    """One training, seeds aside; its name is unique in its dataset.

    ``budget_images`` and what follows replace the recipe's.
    """

    dataset: Name
    name: Name
    recipe: Name
    seeds: Seeds
    budget_images: Count | None = None
    snapshots: Count | None = None
    n_samples: Count | None = None
    each_snapshot: Plan | None = None
    final: Plan | None = None
    final_one_set: Plan | None = None

    @property
    def teacher(self) -> str | None:
        """The run whose pairs it is trained on, if it is."""
        return self.coupling.options.get("teacher")

    @property
    def before(self) -> dict[str, str]:
        """Runs that must be finished before it: its ``start``, ``teacher`` and ``guide``, if any.

        The guide is the ``teacher`` of its loss.
        """
        guide = self.loss.options.get("teacher")
        found = {"start": self.start, "teacher": self.teacher, "guide": guide}
        return {key: name for key, name in found.items() if isinstance(name, str)}

    def complete(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this run's own values in place of its.

        Raises
        ------
        pydantic.ValidationError
            If they do not go together.
        """
        own = self.model_dump(exclude_none=True)
        values = recipe.model_dump()
        for place in (values, values["sampling"]):
            place |= {key: own[key] for key in place.keys() & own.keys()}
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
    for place, entry in enumerate(entries):
        where = f"runs[{place}]"
        if isinstance(entry, Run):
            runs.append(entry)
            continue
        if not isinstance(entry, dict) or ("name" in entry) == ("grid" in entry):
            expected = "either a name, or a grid of runs by their names"
            problems.append(f"{where}: expected {expected}, found {shown(entry)}")
            continue
        shared = {key: value for key, value in entry.items() if key != "grid"}
        grid = entry.get("grid", {"": None})
        if not isinstance(grid, dict) or not grid:
            problems.append(f"{where}.grid: expected runs by their names, found {shown(grid)}")
            continue
        for name, own in grid.items():
            cell = f"{where}.grid.{name}"
            if not isinstance(own, dict | None) or {"dataset", "name"} & set(own or {}):
                expected = "what differs between the grid's runs, without dataset and name"
                problems.append(f"{cell}: expected {expected}, found {shown(own)}")
                continue
            try:
                runs.append(Run.model_validate({"name": name} | shared | (own or {})))
            except ValidationError as error:
                for key, line in describe(error, Run):
                    of_cell = "grid" in entry and key.split(".")[0] in {"name", *(own or {})}
                    problems.append(f"{cell if of_cell else where}.{line}")
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return runs


class RunSettings(Method, Training):
    """One run of one seed, fully resolved: what training receives and ``run.json`` records.

    What the run *is*, is its `plain` form; neither its name nor where it lies belongs to it.
    """

    dataset: str
    shape: Shape
    horizontal_flips: StrictBool = False
    seed: Seed
    network: Network

    @property
    def match_size(self) -> int:
        """The coupling's match size; 0 without one."""
        return self.coupling.options.get("match_size", 0)

    def canonical_json(self) -> str:
        """Return the plain settings as JSON with sorted keys: equal settings give equal text."""
        return json.dumps(self.plain(), sort_keys=True)
