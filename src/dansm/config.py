"""The configuration: datasets, autoencoders, network presets, recipes and experiment rows.

`load_config` reads ``config/config.yaml`` into the models below, checks every value and every
reference between them, and raises one `InputError` that lists all that is wrong.
"""

import json
from collections.abc import Callable
from math import gcd
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)

from dansm.errors import InputError


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"expected distinct seeds, found {seeds}")
    return seeds


Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0)]
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)]
MatchSize = Annotated[StrictInt, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Shape = tuple[Count, Count, Count]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^(https?://|file:)")]
ProcessName = Literal["rectified_flow", "diffusion"]
CouplingName = Literal[
    "independent",
    "greedy",
    "hungarian",
    "immiscible",
    "knn",
    "loom",
    "minibatch_ot",
    "semidiscrete",
]
COUPLING_NAMES: tuple[str, ...] = get_args(CouplingName)
SamplerName = Literal["euler", "heun", "rk45", "ddim_original", "ddim_trailing"]
ExtractorName = Literal["digit_classifier", "inception_legacy_tensorflow", "inception_clean"]

# The weights that clean-fid and StyleGAN's metrics use.
INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
# Couplings whose match size counts something; the others take 0.
SIZED_COUPLINGS = ("greedy", "hungarian", "knn")
DIFFUSION_TIMES = 1000
SAMPLERS: dict[str, tuple[str, ...]] = {
    "rectified_flow": ("euler", "heun", "rk45"),
    "diffusion": ("ddim_original", "ddim_trailing"),
}


class Model(BaseModel):
    """Base of all configuration models: unknown keys are errors, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DigitsSource(Model):
    """scikit-learn's 1 797 handwritten digits, which ship inside the package."""

    kind: Literal["sklearn_digits"]


class Cifar10Source(Model):
    """CIFAR-10's 50 000 training images, from the archive in ``folder`` or what it unpacks to."""

    kind: Literal["cifar10"]
    folder: Path
    published: bool = Field(
        default=True, description="Whether the files must be the published ones, by checksum"
    )


class MnistSource(Model):
    """The 60 000 training images of MNIST or Fashion-MNIST, from idx files, gzipped or not."""

    kind: Literal["mnist", "fashion_mnist"]
    folder: Path


class LsunSource(Model):
    """One LSUN category from its published zip in ``folder`` or the LMDB in it, centre-cropped."""

    kind: Literal["lsun"]
    folder: Path
    category: str = Field(description="LMDB name without its ending, e.g. bedroom_train")
    count: Count | None = Field(
        default=None, description="The first so many images of the database; none: all"
    )
    sha256: Sha256 | None = Field(
        default=None, description="Of the zip; LSUN publishes none, the download records it"
    )


class ImageFolderSource(Model):
    """Every image below ``folder``, at any depth, in the order of their paths, centre-cropped."""

    kind: Literal["image_folder"]
    folder: Path
    labels: bool = Field(
        default=True, description="Whether the folders in it, where there are any, are classes"
    )
    count: Count | None = Field(default=None, description="The first so many images; none: all")


class ImageNet64Source(Model):
    """ImageNet's training images at 64×64, as published: ``train_data_batch_{1..10}.npz``."""

    kind: Literal["imagenet64"]
    folder: Path
    count: Count | None = Field(default=None, description="The first so many images; none: all")


class LatentSource(Model):
    """Another dataset's images, encoded by an autoencoder."""

    kind: Literal["latents"]
    of: Name
    autoencoder: Name
    posterior: Literal["mean", "sample"] = Field(
        default="mean",
        description="Train on the means, or on samples drawn anew each time a row is read",
    )


PixelSource = (
    DigitsSource | Cifar10Source | MnistSource | LsunSource | ImageFolderSource | ImageNet64Source
)
Source = Annotated[PixelSource | LatentSource, Field(discriminator="kind")]


class Dataset(Model):
    """A dataset: where it comes from and how generated images are compared with it."""

    source: Source
    shape: Shape = Field(description="Channels, height, width of what the network sees")
    licence: str
    horizontal_flips: bool = False
    features: list[ExtractorName] = Field(
        default=[], description="Feature extractors of its Fréchet distances"
    )


class TrainedAutoencoder(Model):
    """A small AutoencoderKL trained by the workflow on a pixel dataset."""

    kind: Literal["trained"]
    dataset: Name
    channels: list[Count] = Field(min_length=1)
    latent_channels: Count
    budget_images: Count
    batch_size: Count
    learning_rate: Positive
    kl_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    seed: Seed


class PretrainedAutoencoder(Model):
    """A published AutoencoderKL or AutoencoderTiny in diffusers format."""

    kind: Literal["pretrained"]
    name: str = Field(description="A local folder, or a hub name such as owner/name")
    subfolder: str | None = None
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, description="Commit of the hub's repository, 40 hexadecimal digits"
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Of the weights, diffusion_pytorch_model.safetensors"
    )
    scaling_factor: Positive | None = Field(
        default=None, description="Where its config.json does not state one"
    )
    mixed_precision: Literal["no", "fp16", "bf16"] = Field(
        default="fp16", description="Of encoding and decoding on a GPU"
    )
    gpus: Count = Field(default=1, description="GPUs that share the encoding of a dataset")


Autoencoder = Annotated[TrainedAutoencoder | PretrainedAutoencoder, Field(discriminator="kind")]


class Classifier(Model):
    """A small classifier of digits whose penultimate activations are a dataset's features."""

    channels: Count
    features: Count
    epochs: Count
    batch_size: Count
    learning_rate: Positive
    held_out: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class PotentialsFit(Model):
    """How the potentials of the coupling ``semidiscrete`` are fitted to a dataset."""

    steps: Count
    batch_size: Count = Field(description="Noises a step")
    learning_rate: Positive
    seed: Seed


class Variant(Model):
    """A coupling with options of its own; subclasses say which."""

    @property
    def options(self) -> dict[str, Any]:
        """What the coupling's class is told."""
        return self.model_dump(exclude={"coupling"}, exclude_none=True)


class ImmiscibleVariant(Variant):
    """Immiscible Diffusion with the assignment in half precision, or not."""

    coupling: Literal["immiscible"]
    quantized: bool


class LoomVariant(Variant):
    """LOOM-CFM with several noises stored for each sample."""

    coupling: Literal["loom"]
    stored: Count


class MinibatchVariant(Variant):
    """Minibatch optimal transport by another plan."""

    coupling: Literal["minibatch_ot"]
    method: Literal["exact", "sinkhorn"]
    regularisation: Positive | None = None

    @model_validator(mode="after")
    def _only_sinkhorn_is_regularised(self) -> "MinibatchVariant":
        if self.method == "exact" and self.regularisation is not None:
            raise ValueError(
                f"regularisation {self.regularisation}: only method sinkhorn takes one"
            )
        return self


class SemidiscreteVariant(Variant):
    """Semidiscrete matching in another metric than the Euclidean."""

    coupling: Literal["semidiscrete"]
    metric: Literal["euclidean", "covariance"]


CouplingVariant = Annotated[
    ImmiscibleVariant | LoomVariant | MinibatchVariant | SemidiscreteVariant,
    Field(discriminator="coupling"),
]


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


class Cluster(Model):
    """How jobs ask a cluster for GPUs; a site's other settings are in workflow/profiles/slurm."""

    gpu_request: Literal["gpus", "gres"] = Field(
        default="gpus", description="As --gpus=2, or as --gres=gpu:2"
    )
    gpu_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")] | None = Field(
        default=None, description="As the cluster names it: --gpus=a100:2, --gres=gpu:a100:2"
    )

    def request(self, gpus: int) -> dict[str, int | str | None]:
        """Return Snakemake's resources ``gpu``, ``gpu_model`` and ``gres`` for so many GPUs."""
        if gpus and self.gpu_request == "gres":
            kind = "gpu" if self.gpu_type is None else f"gpu:{self.gpu_type}"
            return {"gpu": 0, "gpu_model": None, "gres": f"{kind}:{gpus}"}
        return {"gpu": gpus, "gpu_model": self.gpu_type if gpus else None, "gres": None}


class Sampling(Model):
    """How snapshots are sampled: step counts by sampler (none for the adaptive rk45)."""

    every_snapshot: dict[SamplerName, list[Count]]
    last_snapshot: dict[SamplerName, list[Count]]
    long: dict[SamplerName, list[Count]] = Field(
        default={}, description="More steps for the last snapshot, its first range only"
    )
    # Precision and recall look at each image's third neighbour.
    n_samples: Annotated[StrictInt, Field(ge=4)]
    batch_size: Count
    last_seed_ranges: Count = Field(description="Disjoint ranges of image seeds, last snapshot")
    keep_png: bool = Field(
        default=False, description="Also write the last snapshot's images as PNG, for other tools"
    )

    @model_validator(mode="after")
    def _steps_match_samplers(self) -> "Sampling":
        for plan in (self.every_snapshot, self.last_snapshot, self.long):
            for sampler, steps in plan.items():
                if (sampler == "rk45") == bool(steps):
                    expected = "no step counts" if sampler == "rk45" else "at least one step count"
                    raise ValueError(f"{sampler} takes {expected}, found {steps}")
                if sampler.startswith("ddim") and max(steps) > DIFFUSION_TIMES:
                    raise ValueError(
                        f"{sampler} takes up to {DIFFUSION_TIMES} steps, found {max(steps)}"
                    )
        return self

    def sets(self, last: bool) -> list[tuple[str, int, int]]:
        """Return sampler, steps (0: adaptive) and number of seed ranges of a snapshot's samples."""
        plans = [(self.every_snapshot, 1)]
        if last:
            plans = [(self.last_snapshot, self.last_seed_ranges), (self.long, 1)]
        ranges: dict[tuple[str, int], int] = {}
        for plan, count in plans:
            for sampler, steps in plan.items():
                for number in steps or [0]:
                    ranges.setdefault((sampler, number), count)
        return [(*key, count) for key, count in ranges.items()]

    @property
    def longest(self) -> tuple[str, int]:
        """Sampler and steps nearest to the exact solution: rk45, or most steps, trailing first."""
        sets = [(sampler, steps) for sampler, steps, _ in self.sets(last=True)]
        return max(sets, key=lambda chosen: (chosen[0] == "rk45", chosen[1], chosen[0]))


class Recipe(Model):
    """Everything of a run but who is matched with whom."""

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


class Experiment(Model):
    """One row: a dataset, process, coupling and match size, for some seeds, after a recipe.

    The optional fields replace the recipe's.
    """

    dataset: Name
    process: ProcessName
    coupling: Name = Field(description="A coupling, or one of couplings")
    match_size: MatchSize
    seeds: Seeds
    recipe: Name
    budget_images: Count | None = None
    snapshots: Count | None = None
    n_samples: Count | None = None
    every_snapshot: dict[SamplerName, list[Count]] | None = None
    last_snapshot: dict[SamplerName, list[Count]] | None = None
    long: dict[SamplerName, list[Count]] | None = None

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes a row unique: dataset, process, coupling, match size."""
        return (self.dataset, self.process, self.coupling, self.match_size)

    def complete(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this row's own values in place of its.

        Raises
        ------
        pydantic.ValidationError
            If they do not go together.
        """
        own = self.model_dump(exclude_none=True)
        values = recipe.model_dump()
        values |= {key: own[key] for key in ("budget_images", "snapshots") if key in own}
        keys = ("n_samples", "every_snapshot", "last_snapshot", "long")
        values["sampling"] |= {key: own[key] for key in keys if key in own}
        return Recipe.model_validate(values)


class Method(Model):
    """A coupling with its match size."""

    coupling: Name = Field(description="A coupling, or one of couplings")
    match_size: MatchSize = 0


class CouplingAblation(Model):
    """Couplings compared on one dataset: everything but the coupling is the same."""

    dataset: Name
    process: ProcessName
    recipe: Name
    seeds: Seeds
    methods: list[Method] = Field(min_length=1)


class CouplingMarginals(Model):
    """The table of what each coupling does to the noise."""

    dataset: Name
    count: Count = Field(description="Pairs of each coupling, at least; a stream ends with a pool")
    batch_size: Annotated[StrictInt, Field(ge=2)]
    seed: Seed


def _ascending(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError(f"expected distinct numbers in ascending order, found {values}")
    return values


Ascending = Annotated[list[Count], Field(min_length=1), AfterValidator(_ascending)]


class NoiseSamplePairs(Model):
    """The samples of a dataset whose random, matched and preferable noises are compared."""

    count: Annotated[StrictInt, Field(ge=3)] = Field(description="Samples of a draw")
    draws: Count
    match_sizes: Ascending = Field(default=[100, 1000, 10_000], description="Of the matched noises")
    batch_sizes: Ascending = Field(
        description="Batches in which a sample's noise may be the nearest of all"
    )
    pairs: Annotated[StrictInt, Field(ge=3)] = Field(description="Pairs of a t-SNE")
    perplexity: Positive
    embeddings: Count = Field(description="t-SNEs of pairs of their own: crossings are counted in")
    time_bins: Count = Field(default=10, description="Parts of time in which the loss is measured")
    seed: Seed

    @model_validator(mode="after")
    def _sizes_fit(self) -> "NoiseSamplePairs":
        if self.perplexity >= 2 * self.pairs:
            raise ValueError(
                f"perplexity {self.perplexity} must be below the {2 * self.pairs} points of "
                f"{self.pairs} pairs"
            )
        most = self.draws * (self.count // self.pairs)
        if self.embeddings > most:
            raise ValueError(
                f"embeddings {self.embeddings}: {self.draws} draws of {self.count} samples make "
                f"up to {most} of {self.pairs} pairs"
            )
        if self.match_sizes[0] < 2 or self.batch_sizes[0] < 2:
            raise ValueError("match_sizes, batch_sizes: expected at least 2")
        if self.batch_sizes[-1] > self.count:
            raise ValueError(
                f"batch_sizes: expected up to the {self.count} samples of a draw, "
                f"found {self.batch_sizes[-1]}"
            )
        return self


class BestOfK(Model):
    """What ``results/best_of_k.csv`` measures: the best of k Gaussian noises by dimension."""

    dimensions: Ascending = Field(description="Numbers in one sample")
    counts: Ascending = Field(description="Noises to choose from, k")
    draws: Annotated[StrictInt, Field(ge=2)]
    seed: Seed

    @model_validator(mode="after")
    def _has_directions(self) -> "BestOfK":
        if self.dimensions[0] < 2:
            raise ValueError(f"dimensions: expected at least 2, found {self.dimensions[0]}")
        return self


class MatchingCost(Model):
    """What ``results/matching_cost.csv`` measures: every method in every cell of a grid."""

    match_sizes: Ascending
    dimensions: Ascending = Field(description="Numbers in one sample")
    batch_sizes: Ascending
    seconds: Positive = Field(description="A cell is repeated for so long")
    repetitions: Count = Field(description="And so often at most")
    limit_seconds: Positive = Field(description="Cells whose first repetition takes longer: a note")
    memory_mb: Count = Field(description="Cells that would need more get a note, too")
    threads: Count
    seed: Seed

    @property
    def shown_batch_size(self) -> int:
        """The batch size that the figure shows: the one nearest to the paper's 250."""
        return min(self.batch_sizes, key=lambda size: abs(size - 250))

    @model_validator(mode="after")
    def _match_sizes_are_pools(self) -> "MatchingCost":
        if self.match_sizes[0] < 2:
            raise ValueError(f"match_sizes: expected at least 2, found {self.match_sizes[0]}")
        return self


class MatchingShare(Model):
    """What ``results/matching_share_{dataset}.csv`` measures: steps and matches, in turn."""

    match_sizes: Ascending
    rounds: Count = Field(description="In each, every match size has its turn")
    steps: Count = Field(description="Training steps of a turn that are timed; as many go before")
    memory_mb: Count = Field(description="Larger pools are left out")
    seed: Seed

    @model_validator(mode="after")
    def _match_sizes_are_pools(self) -> "MatchingShare":
        if self.match_sizes[0] < 2:
            raise ValueError(f"match_sizes: expected at least 2, found {self.match_sizes[0]}")
        return self


class DistanceMeasure(Model):
    """Of the runs of one process: with which sampler and how many steps they are sampled."""

    process: ProcessName
    sampler: SamplerName
    steps: Count


class Saving(DistanceMeasure):
    """Saving, in percent, at the quality of the vanilla run at its end; seed by seed."""

    kind: Literal["saving"]
    of: Literal["images", "seconds"] = "images"
    method: Method


class DistanceRatio(DistanceMeasure):
    """Final distance of a method as a multiple of another's; seed by seed, geometric mean."""

    kind: Literal["distance_ratio"]
    method: Method
    than: Method


class DistanceFactor(DistanceMeasure):
    """Factor of the final distance by each tenfold match size of ``greedy``; seed by seed."""

    kind: Literal["distance_factor"]


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
    datasets: list[Name] | None = Field(default=None, description="Of which; none: of all")


class Scale(Model):
    """Upper bounds that shrink every run, for plumbing checks; results go to a folder apart."""

    batch_size: Count
    batches: Count
    channels: Count
    layers_per_block: Count
    snapshots: Count
    n_samples: Count
    images: Count
    epochs: Count
    seeds: Count


class RunSettings(Model):
    """One run, fully resolved: what training and evaluation receive and ``run.json`` records."""

    dataset: str
    shape: Shape
    horizontal_flips: bool
    process: ProcessName
    coupling: str = Field(description="As the row names it")
    variant: CouplingVariant | None = Field(default=None, description="What that name stands for")
    match_size: MatchSize
    seed: Seed
    network: Network
    batch_size: Count
    learning_rate: float
    ema_decay: float
    gradient_clip: float
    mixed_precision: Literal["no", "bf16"]
    channels_last: bool = False
    compile: bool = False
    budget_images: Count
    snapshots: Count

    @property
    def coupling_kind(self) -> str:
        """Name of the coupling's class."""
        return self.coupling if self.variant is None else self.variant.coupling

    @property
    def coupling_options(self) -> dict[str, Any]:
        """What the coupling's class is told beside match size and seed."""
        return {} if self.variant is None else self.variant.options

    @property
    def steps(self) -> int:
        """Optimiser steps that see ``budget_images`` images (the last batch may overshoot)."""
        return -(-self.budget_images // self.batch_size)

    def snapshot_steps(self) -> list[int]:
        """Return the optimiser steps after which a snapshot is taken; the last is the final one."""
        return [round(self.steps * k / self.snapshots) for k in range(1, self.snapshots + 1)]

    def canonical_json(self) -> str:
        """Return the settings as JSON with sorted keys: equal settings give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class Config(Model):
    """The whole of ``config/config.yaml``."""

    datasets: dict[Name, Dataset]
    autoencoders: dict[Name, Autoencoder] = {}
    classifiers: dict[Name, Classifier] = Field(
        default={}, description="By the dataset they learn; for its feature digit_classifier"
    )
    potentials: PotentialsFit
    inception_weights: Path | None = Field(
        default=None,
        description="Folder with inception-2015-12-05.pt; none: from a cache or downloaded",
    )
    inception_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(
        default=INCEPTION_SHA256, description="What that file must be"
    )
    mirrors: dict[Name, Annotated[list[Address], Field(min_length=1)]] = Field(
        default={},
        description="By dataset: folders that hold its published files, tried before the rest",
    )
    networks: dict[Name, Network]
    recipes: dict[Name, Recipe]
    couplings: dict[Name, CouplingVariant] = Field(
        default={}, description="Couplings with options, by a name that rows use"
    )
    experiments: list[Experiment] = Field(min_length=1)
    coupling_ablations: dict[Name, CouplingAblation] = Field(
        default={}, description="Comparisons of couplings, by a name of their own"
    )
    noise_sample_pairs: dict[Name, NoiseSamplePairs] = {}
    pairs_without_experiments: list[Name] = Field(
        default=[], description="Datasets without experiments whose pairs the target all has too"
    )
    best_of_k: BestOfK
    coupling_marginals: CouplingMarginals
    matching_cost: MatchingCost
    matching_share: MatchingShare
    claims: list[Claim] = []
    demo: list[Name] = Field(description="Datasets of the target demo")
    demo_couplings: list[Name] = Field(
        default=[], description="Its comparisons of couplings, of coupling_ablations"
    )
    report: list[Name] | None = Field(
        default=None, description="Datasets of report.zip and crate.zip; none: what demo makes"
    )
    cluster: Cluster = Cluster()
    scales: dict[Name, Scale] = {}
    scale: Name | None = Field(default=None, description="One of scales; none: full size")
    drawn_from: Literal["reference"] | None = Field(
        default=None, alias="from", description="Figures of archived results; none: of own runs"
    )

    @model_validator(mode="after")
    def _references_exist(self) -> "Config":
        problems: list[str] = []

        def need(where: str, name: str, known: Any) -> bool:
            if name not in known:
                problems.append(f"{where}: unknown {name!r}; expected one of {sorted(known)}")
            return name in known

        for name, dataset in self.datasets.items():
            if isinstance(dataset.source, LatentSource):
                where = f"datasets.{name}.source"
                need(f"{where}.autoencoder", dataset.source.autoencoder, self.autoencoders)
                if need(f"{where}.of", dataset.source.of, self.datasets) and isinstance(
                    self.datasets[dataset.source.of].source, LatentSource
                ):
                    problems.append(f"{where}.of: expected a pixel dataset, found latents")
                else:
                    problems += self._latent_misfits(name, dataset)
        for name, autoencoder in self.autoencoders.items():
            if isinstance(autoencoder, TrainedAutoencoder):
                need(f"autoencoders.{name}.dataset", autoencoder.dataset, self.datasets)
        for name in self.classifiers:
            need("classifiers", name, self.datasets)
        for name, dataset in self.datasets.items():
            if "digit_classifier" in dataset.features and not isinstance(
                dataset.source, LatentSource
            ):
                need(f"datasets.{name}.features: classifiers", name, self.classifiers)
        for name in self.demo:
            need("demo", name, self.datasets)
        for name in self.report or []:
            need("report", name, self.datasets)
        for name in self.noise_sample_pairs:
            need("noise_sample_pairs", name, self.datasets)
        for name in self.demo_couplings:
            need("demo_couplings", name, self.coupling_ablations)
        compared = {ablation.dataset for ablation in self.coupling_ablations.values()}
        need("coupling_marginals.dataset", self.coupling_marginals.dataset, compared)
        for name in self.pairs_without_experiments:
            need("pairs_without_experiments", name, self.noise_sample_pairs)
        problems += self._claim_problems(need)
        published = [
            name
            for name, dataset in self.datasets.items()
            if isinstance(dataset.source, Cifar10Source | MnistSource | LsunSource)
        ]
        for name in self.mirrors:
            need("mirrors", name, published)
        if self.scale is not None:
            need("scale", self.scale, self.scales)
            if self.drawn_from is not None:
                problems.append(f"from: expected no scale beside it, found {self.scale!r}")
        for name, recipe in self.recipes.items():
            need(f"recipes.{name}.network", recipe.network, self.networks)
        for name in self.couplings:
            if name in COUPLING_NAMES:
                problems.append(f"couplings.{name}: expected a name that no coupling has")
        rows = [(f"experiments[{i}]", row) for i, row in enumerate(self.experiments)]
        for name in self.coupling_ablations:
            where = f"coupling_ablations.{name}"
            rows += [(f"{where}.methods[{i}]", row) for i, row in enumerate(self.ablation(name))]
        seen: dict[tuple, tuple[str, Recipe | None]] = {}
        for where, row in rows:
            known = need(f"{where}.dataset", row.dataset, self.datasets)
            known &= need(f"{where}.recipe", row.recipe, self.recipes)
            known &= need(f"{where}.coupling", row.coupling, [*COUPLING_NAMES, *self.couplings])
            if known and self.recipes[row.recipe].network in self.networks:
                problems += [f"{where}: {problem}" for problem in self._misfits(row)]
            section = where.partition("[")[0]
            if (section, row.key) in seen:
                problems.append(f"{where}: a second row for {row.key}")
            completed = self._completed(row) if known else None
            first, other = seen.setdefault(row.key, (where, completed))
            seen[section, row.key] = (where, completed)
            if None not in (completed, other) and completed != other:
                problems.append(f"{where}: {row.key} is another run in {first}; expected the same")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _claim_problems(self, need: Callable[[str, str, Any], bool]) -> list[str]:
        """Return what is wrong with claims, beside the unknown names that ``need`` notes."""
        names = [claim.name for claim in self.claims]
        problems = [
            f"claims: a second claim {name!r}" for k, name in enumerate(names) if name in names[:k]
        ]
        for claim in self.claims:
            where = f"claims.{claim.name}"
            for dataset in claim.datasets or []:
                need(f"{where}.datasets", dataset, self.datasets)
            measure = claim.measure
            if isinstance(measure, DistanceMeasure):
                need(f"{where}.measure.sampler", measure.sampler, SAMPLERS[measure.process])
            for key in ("method", "than"):
                method = getattr(measure, key, None)
                if method is not None:
                    known = [*COUPLING_NAMES, *self.couplings]
                    need(f"{where}.measure.{key}.coupling", method.coupling, known)
        return problems

    def _latent_misfits(self, name: str, dataset: Dataset) -> list[str]:
        autoencoder = self.autoencoders.get(dataset.source.autoencoder)
        images = self.datasets.get(dataset.source.of)
        if images is None or not isinstance(autoencoder, TrainedAutoencoder):
            return []
        factor = 2 ** (len(autoencoder.channels) - 1)
        expected = (autoencoder.latent_channels, *(side // factor for side in images.shape[1:]))
        if dataset.shape == expected:
            return []
        return [
            f"datasets.{name}.shape: expected {expected}, which autoencoder "
            f"{dataset.source.autoencoder!r} makes of {images.shape}, found {dataset.shape}"
        ]

    def _completed(self, row: Experiment) -> Recipe | None:
        try:
            return row.complete(self.recipes[row.recipe])
        except ValidationError:
            return None

    def _misfits(self, row: Experiment) -> list[str]:
        dataset, recipe = self.datasets[row.dataset], self.recipes[row.recipe]
        network = self.networks[recipe.network]
        problems = []
        factor = 2 ** (len(network.channels) - 1)
        for side in dataset.shape[1:]:
            if side % factor:
                problems.append(
                    f"network {recipe.network!r} halves the image {len(network.channels) - 1} "
                    f"times, so sides must be divisible by {factor}; dataset {row.dataset!r} is "
                    f"{dataset.shape[1]}×{dataset.shape[2]}"
                )
                break
        try:
            sampling = row.complete(recipe).sampling
        except ValidationError as error:
            return [*problems, *(_message(problem) for problem in error.errors())]
        plans = {
            "every_snapshot": sampling.every_snapshot,
            "last_snapshot": sampling.last_snapshot,
            "long": sampling.long,
        }
        allowed = SAMPLERS[row.process]
        for key, plan in plans.items():
            wrong = sorted(set(plan) - set(allowed))
            if wrong:
                problems.append(
                    f"{key}: {row.process} is sampled by {' or '.join(allowed)}, found {wrong}"
                )
        kind = self.kind(row.coupling)
        if kind not in SIZED_COUPLINGS and row.match_size != 0:
            problems.append(f"match_size {row.match_size}: {row.coupling} takes 0")
        if kind in SIZED_COUPLINGS and row.match_size < 2:
            problems.append(
                f"match_size {row.match_size}: {row.coupling} takes at least 2; "
                "the vanilla method is coupling independent with match_size 0"
            )
        if kind == "semidiscrete" and dataset.horizontal_flips:
            problems.append(
                f"semidiscrete chooses among the stored samples, so it does not go with the "
                f"horizontal_flips of dataset {row.dataset!r}"
            )
        source = dataset.source
        if kind == "semidiscrete" and getattr(source, "posterior", "mean") == "sample":
            problems.append(
                f"semidiscrete chooses among the stored samples, so it does not go with the "
                f"posterior sample of dataset {row.dataset!r}"
            )
        if not dataset.features:
            problems.append(
                f"dataset {row.dataset!r} names no features, so no distance can be computed"
            )
        return problems

    @property
    def results(self) -> str:
        """Folder of all results.

        ``results``, or ``results/SCALE`` at a reduced scale, or ``results/from_reference`` of what
        is drawn from archived results.
        """
        if self.drawn_from is not None:
            return f"results/from_{self.drawn_from}"
        return "results" if self.scale is None else f"results/{self.scale}"

    def rows(self, dataset: str) -> list[Experiment]:
        """Return a dataset's experiment rows, in the order of the file.

        Raises
        ------
        InputError
            If no row names the dataset.
        """
        rows = [row for row in self.experiments if row.dataset == dataset]
        if not rows:
            known = sorted({row.dataset for row in self.experiments})
            raise InputError(
                f"unknown dataset {dataset!r}: expected one with experiments, one of {known}"
            )
        return rows

    def kind(self, coupling: str) -> str:
        """Return the name of the class of a row's coupling."""
        variant = self.couplings.get(coupling)
        return coupling if variant is None else variant.coupling

    def options(self, coupling: str) -> dict[str, Any]:
        """Return what the class of a row's coupling is told beside match size and seed."""
        variant = self.couplings.get(coupling)
        return {} if variant is None else variant.options

    def ablation(self, name: str) -> list[Experiment]:
        """Return the rows of a comparison of couplings.

        Raises
        ------
        InputError
            If there is none.
        """
        if name not in self.coupling_ablations:
            raise InputError(
                f"coupling_ablations: no entry {name!r}; "
                f"expected one of {sorted(self.coupling_ablations)}"
            )
        ablation = self.coupling_ablations[name]
        shared = {
            "dataset": ablation.dataset,
            "process": ablation.process,
            "recipe": ablation.recipe,
            "seeds": ablation.seeds,
        }
        return [Experiment(**shared, **dict(method)) for method in ablation.methods]

    def compared(self, dataset: str) -> list[Experiment]:
        """Return the rows of all comparisons of couplings on a dataset, each method once."""
        rows: dict[tuple, Experiment] = {}
        for name, ablation in self.coupling_ablations.items():
            if ablation.dataset == dataset:
                for row in self.ablation(name):
                    rows.setdefault(row.key, row)
        return list(rows.values())

    def row(self, dataset: str, process: str, coupling: str, match_size: int) -> Experiment:
        """Return the row with this key, of the experiments or of a comparison of couplings.

        Raises
        ------
        InputError
            If there is none.
        """
        rows = [row for row in self.experiments if row.dataset == dataset]
        rows += self.compared(dataset)
        for row in rows:
            if row.key == (dataset, process, coupling, match_size):
                return row
        raise InputError(
            f"config: no experiment row for {dataset}, {process}, {coupling}, {match_size}; "
            f"expected one of {[row.key for row in rows]}"
        )

    def seeds(self, row: Experiment) -> list[int]:
        """Return the row's seeds at the configured scale."""
        return row.seeds if self.scale is None else row.seeds[: self.scales[self.scale].seeds]

    def run_settings(self, row: Experiment, seed: int) -> RunSettings:
        """Resolve a row and a seed into all that training needs, at the configured scale."""
        dataset, recipe = self.datasets[row.dataset], row.complete(self.recipes[row.recipe])
        network = self.networks[recipe.network]
        keys = ("batch_size", "budget_images", "snapshots")
        values: dict[str, Any] = {key: getattr(recipe, key) for key in keys}
        if self.scale is not None:
            scale = self.scales[self.scale]
            batch = min(recipe.batch_size, scale.batch_size)
            budget = min(recipe.budget_images, batch * scale.batches)
            values = {
                "batch_size": batch,
                "budget_images": budget,
                "snapshots": min(recipe.snapshots, scale.snapshots, budget // batch),
            }
            channels = [min(c, scale.channels) for c in network.channels]
            network = network.model_copy(
                update={
                    "channels": channels,
                    "layers_per_block": min(network.layers_per_block, scale.layers_per_block),
                    "norm_groups": gcd(network.norm_groups, *channels),
                }
            )
        return RunSettings(
            dataset=row.dataset,
            shape=dataset.shape,
            horizontal_flips=dataset.horizontal_flips,
            process=row.process,
            coupling=row.coupling,
            variant=self.couplings.get(row.coupling),
            match_size=row.match_size,
            seed=seed,
            network=network,
            learning_rate=recipe.learning_rate,
            ema_decay=recipe.ema_decay,
            gradient_clip=recipe.gradient_clip,
            mixed_precision=recipe.mixed_precision,
            channels_last=recipe.channels_last,
            # Compiling takes longer than all of a reduced run.
            compile=recipe.compile and self.scale is None,
            **values,
        )

    def sampling(self, row: Experiment) -> Sampling:
        """Return how the row's snapshots are sampled, at the configured scale."""
        sampling = row.complete(self.recipes[row.recipe]).sampling
        if self.scale is None:
            return sampling
        n_samples = min(sampling.n_samples, self.scales[self.scale].n_samples)
        return sampling.model_copy(update={"n_samples": n_samples})

    def scaled_classifier(self, name: str) -> Classifier:
        """Return the settings of a dataset's classifier at the configured scale."""
        classifier = self.classifiers[name]
        if self.scale is None:
            return classifier
        epochs = min(classifier.epochs, self.scales[self.scale].epochs)
        return classifier.model_copy(update={"epochs": epochs})

    def scaled_potentials(self) -> PotentialsFit:
        """Return how potentials are fitted, at the configured scale."""
        if self.scale is None:
            return self.potentials
        steps = min(self.potentials.steps, self.scales[self.scale].batches)
        return self.potentials.model_copy(update={"steps": steps})

    def scaled_marginals(self) -> CouplingMarginals:
        """Return what is measured of the couplings' noise, at the configured scale."""
        if self.scale is None:
            return self.coupling_marginals
        scale = self.scales[self.scale]
        batch = min(self.coupling_marginals.batch_size, scale.batch_size)
        count = min(self.coupling_marginals.count, batch * scale.batches)
        return self.coupling_marginals.model_copy(update={"batch_size": batch, "count": count})

    def vanilla_flow(self, dataset: str) -> Experiment | None:
        """Return a dataset's row of vanilla rectified flow; None without."""
        return self._flow(dataset, "independent")

    def matched_flow(self, dataset: str) -> Experiment | None:
        """Return a dataset's row of rectified flow with the largest match size; None without."""
        return self._flow(dataset, "greedy")

    def _flow(self, dataset: str, coupling: str) -> Experiment | None:
        rows = [
            row for row in self.experiments if row.key[:3] == (dataset, "rectified_flow", coupling)
        ]
        return max(rows, key=lambda row: row.match_size, default=None)

    def scaled_pairs(self, dataset: str) -> NoiseSamplePairs:
        """Return which noise-sample pairs of a dataset are compared, at the configured scale.

        Raises
        ------
        InputError
            If the dataset has no entry.
        """
        if dataset not in self.noise_sample_pairs:
            raise InputError(
                f"noise_sample_pairs: no entry for {dataset!r}; "
                f"expected one of {sorted(self.noise_sample_pairs)}"
            )
        pairs = self.noise_sample_pairs[dataset]
        if self.scale is None:
            return pairs
        scale = self.scales[self.scale]
        count = max(pairs.pairs, min(pairs.count, scale.images))
        sizes = {
            key: sorted({min(size, most) for size in getattr(pairs, key)})
            for key, most in {"match_sizes": scale.images, "batch_sizes": count}.items()
        }
        few = {key: min(getattr(pairs, key), scale.seeds) for key in ("draws", "embeddings")}
        bins = min(pairs.time_bins, scale.batches)
        return pairs.model_copy(update={"count": count, "time_bins": bins, **sizes, **few})

    def scaled_best_of_k(self) -> BestOfK:
        """Return what the best of k noises is measured for, at the configured scale."""
        if self.scale is None:
            return self.best_of_k
        images = self.scales[self.scale].images
        sizes = {
            key: sorted({min(size, images) for size in getattr(self.best_of_k, key)})
            for key in ("dimensions", "counts")
        }
        draws = min(self.best_of_k.draws, images)
        return self.best_of_k.model_copy(update={**sizes, "draws": draws})

    def scaled_matching_cost(self) -> MatchingCost:
        """Return what the cost of matching is measured for, at the configured scale."""
        if self.scale is None:
            return self.matching_cost
        cost, scale = self.matching_cost, self.scales[self.scale]
        bounds = {
            "match_sizes": scale.images,
            "dimensions": scale.images,
            "batch_sizes": scale.batch_size,
        }
        grid = {
            key: sorted({min(size, most) for size in getattr(cost, key)})
            for key, most in bounds.items()
        }
        repetitions = min(cost.repetitions, scale.batches)
        return cost.model_copy(update=grid | {"repetitions": repetitions})

    def scaled_matching_share(self) -> MatchingShare:
        """Return what matching is compared with training for, at the configured scale."""
        if self.scale is None:
            return self.matching_share
        share, scale = self.matching_share, self.scales[self.scale]
        return share.model_copy(
            update={
                "match_sizes": sorted({min(size, scale.images) for size in share.match_sizes}),
                "rounds": min(share.rounds, scale.seeds),
                "steps": min(share.steps, scale.batches),
            }
        )

    def claims_of(self, dataset: str) -> list[Claim]:
        """Return the claims that are made of a dataset."""
        return [c for c in self.claims if c.datasets is None or dataset in c.datasets]

    def latent_shapes(self, autoencoder: str) -> dict[str, tuple[Shape, Shape]]:
        """Return, by latent dataset of an autoencoder, the shapes of its images and latents."""
        return {
            name: (self.datasets[dataset.source.of].shape, dataset.shape)
            for name, dataset in self.datasets.items()
            if isinstance(dataset.source, LatentSource)
            and dataset.source.autoencoder == autoencoder
        }

    def scaled_autoencoder(self, name: str) -> TrainedAutoencoder | PretrainedAutoencoder:
        """Return an autoencoder's settings at the configured scale."""
        autoencoder = self.autoencoders[name]
        if self.scale is None or isinstance(autoencoder, PretrainedAutoencoder):
            return autoencoder
        scale = self.scales[self.scale]
        batch = min(autoencoder.batch_size, scale.batch_size)
        return autoencoder.model_copy(
            update={
                "batch_size": batch,
                "budget_images": min(autoencoder.budget_images, batch * scale.batches),
            }
        )

    def scaled_source(self, name: str) -> Source:
        """Return a dataset's source, with fewer images at a reduced scale where it has a count."""
        source = self.datasets[name].source
        if self.scale is None or "count" not in type(source).model_fields:
            return source
        images = self.scales[self.scale].images
        return source.model_copy(update={"count": min(source.count or images, images)})

    def standin_source(self, name: str, folder: Path) -> Source:
        """Return the source of a dataset's stand-in: as published, in another folder."""
        source = self.scaled_source(name)
        published = {"published": False} if isinstance(source, Cifar10Source) else {}
        return source.model_copy(update={"folder": folder, **published})

    def features(self, name: str) -> list[str]:
        """Return a dataset's feature extractors; at a reduced scale Inception has random weights.

        That is in its name, so that no such distance is taken for a FID.
        """
        features = self.datasets[name].features
        if self.scale is None:
            return list(features)
        return [f"random_{f}" if f.startswith("inception") else f for f in features]


def parse_config(content: Any, name: str = "config") -> Config:
    """Validate a configuration given as nested dictionaries and lists.

    Raises
    ------
    InputError
        Naming every wrong key with its value and what was expected instead.
    """
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"])
            message = _message(problem)
            lines += [f"{key}: {message}" if key else message]
        raise InputError(f"{name} is not valid:\n  " + "\n  ".join(lines)) from error


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises
    ------
    InputError
        If the file is missing, is not YAML or is not valid.
    """
    return parse_config(read_yaml(path), str(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no mapping holds a key twice.

    Raises
    ------
    InputError
        If the file is missing, is not YAML or repeats a key.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys)
    except OSError as error:
        raise InputError(f"{path}: expected a configuration file, found none ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected valid YAML, found {error}") from error


def config_schema() -> str:
    """Return the JSON schema of the configuration file, for completion in editors."""
    return json.dumps(Config.model_json_schema(), indent=2, sort_keys=True) + "\n"


class _UniqueKeys(yaml.SafeLoader):
    """YAML itself forbids repeated keys; PyYAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1 and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _message(problem: Any) -> str:
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key (value {problem['input']!r}){_siblings(problem)}"
    if problem["type"] == "missing" and isinstance(problem["input"], dict):
        return problem["msg"]
    return f"{problem['msg']}, found {problem['input']!r}"


_SECTIONS: dict[str, type[Model]] = {
    "experiments": Experiment,
    "networks": Network,
    "recipes": Recipe,
    "datasets": Dataset,
    "classifiers": Classifier,
    "potentials": PotentialsFit,
    "coupling_ablations": CouplingAblation,
    "scales": Scale,
    "noise_sample_pairs": NoiseSamplePairs,
    "coupling_marginals": CouplingMarginals,
    "matching_share": MatchingShare,
    "claims": Claim,
    "best_of_k": BestOfK,
    "cluster": Cluster,
}


def _siblings(problem: Any) -> str:
    location = problem["loc"]
    if len(location) == 1:
        model: type[Model] | None = Config
    elif len(location) <= 3:
        model = _SECTIONS.get(str(location[0]))
    else:
        model = None
    return f"; expected one of {sorted(model.model_fields)}" if model else ""
