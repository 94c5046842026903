"""What is measured beside the runs: pairs of noise and sample, and what matching costs."""

from typing import Annotated

from pydantic import Field, StrictInt, model_validator

from dansm.config.base import (
    Ascending,
    AscendingFrom2,
    AtLeast2,
    Count,
    Folder,
    Model,
    Name,
    Number,
    Positive,
    Seed,
    Seeds,
    Shape,
)
from dansm.config.datasets import Published


class CouplingMarginals(Model):
    """The table of what each coupling does to the noise."""

    comparison: Name = Field(description="Whose couplings, on its dataset")
    count: Count = Field(description="Pairs of each coupling, at least; a stream ends with a pool")
    batch_size: AtLeast2
    seed: Seed


class Pipeline(Published):
    """A published text-to-image pipeline whose latents are samples: a StableDiffusionPipeline."""

    prompts: Folder = Field(description="Text file, a prompt a line; # begins a comment")
    steps: Count = Field(description="Of the pipeline's own scheduler")
    guidance_scale: Annotated[Number, Field(ge=0)] = Field(
        description="Of classifier-free guidance; none up to 1"
    )
    shape: Shape = Field(description="Channels, height, width of its latents")
    licence: str
    batch_size: Count = 4


class NoiseSamplePairs(Model):
    """The samples whose random, matched and preferable noises are compared.

    They are of the dataset of its name or, under any other name, of a pipeline.
    """

    pipeline: Pipeline | None = Field(
        default=None, description="Whose latents are the samples, and so the preferable noises"
    )

    run: Name | None = Field(
        default=None, description="Whose samples, and so the preferable noises; none: stored ones"
    )
    matched_run: Name | None = Field(
        default=None, description="The run whose loss over time is measured beside its"
    )
    seeds: Seeds | None = Field(
        default=None, description="Of the run: each model has draws; none: all that it has"
    )
    count: Annotated[StrictInt, Field(ge=3)] = Field(description="Samples of a draw")
    draws: Count = Field(description="Of each model")
    match_sizes: AscendingFrom2 = Field(
        default=[100, 1000, 10_000], description="Of the matched noises"
    )
    batch_sizes: AscendingFrom2 = Field(
        description="Batches in which a sample's noise may be the nearest of all"
    )
    pairs: Annotated[StrictInt, Field(ge=3)] = Field(description="Pairs of a t-SNE")
    perplexity: Positive
    embeddings: Count = Field(description="t-SNEs of pairs of their own: crossings are counted in")
    time_bins: Count = Field(default=10, description="Parts of time in which the loss is measured")
    seed: Seed

    @model_validator(mode="after")
    def _sizes_fit(self) -> "NoiseSamplePairs":
        problems = []
        if self.pipeline and (self.run or self.matched_run):
            problems.append(
                f"run: expected none beside a pipeline, found {self.run or self.matched_run!r}"
            )
        if self.matched_run and not self.run:
            problems.append(f"matched_run {self.matched_run!r}: expected a run beside it")
        if self.perplexity >= 2 * self.pairs:
            problems.append(
                f"perplexity {self.perplexity} must be below the {2 * self.pairs} points of "
                f"{self.pairs} pairs"
            )
        most = self.draws * (self.count // self.pairs)
        if self.embeddings > most:
            problems.append(
                f"embeddings {self.embeddings}: {self.draws} draws of {self.count} samples make "
                f"up to {most} of {self.pairs} pairs"
            )
        if self.batch_sizes[-1] > self.count:
            problems.append(
                f"batch_sizes: expected up to the {self.count} samples of a draw, "
                f"found {self.batch_sizes[-1]}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


class BestOfK(Model):
    """What ``results/best_of_k.csv`` measures: the best of k Gaussian noises by dimension."""

    dimensions: AscendingFrom2 = Field(description="Numbers in one sample")
    counts: Ascending = Field(description="Noises to choose from, k")
    draws: AtLeast2
    seed: Seed


class Straightness(Model):
    """What ``results/straightness.csv`` measures: trajectories of systems in two dimensions."""

    batch_sizes: Ascending = Field(default=[16, 128], description="Of transport in batches")
    steps: Count = Field(default=1500, description="Optimiser steps of each system")
    count: Count = Field(default=2000, description="Trajectories")
    seeds: Count = 3


class MatchingCost(Model):
    """What ``results/matching_cost.csv`` measures: every method in every cell of a grid."""

    match_sizes: AscendingFrom2
    dimensions: Ascending = Field(description="Numbers in one sample")
    batch_sizes: Ascending
    seconds: Positive = Field(description="A cell is repeated for so long")
    repetitions: Count = Field(description="And so often at most")
    limit_seconds: Positive = Field(description="Cells whose first repetition takes longer: a note")
    memory_mb: Count = Field(description="Cells that would need more get a note, too")
    threads: Count
    seed: Seed


class MatchingShare(Model):
    """What ``results/matching_share_{dataset}.csv`` measures: steps and matches, in turn."""

    match_sizes: AscendingFrom2
    rounds: Count = Field(description="In each, every match size has its turn")
    steps: Count = Field(description="Training steps of a turn that are timed; as many go before")
    memory_mb: Count = Field(description="Larger pools are left out")
    seed: Seed
