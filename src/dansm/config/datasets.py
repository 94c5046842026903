"""Datasets, and the autoencoders and classifiers that belong to them."""

import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, StrictBool, model_validator

from dansm.catalogue import EXTRACTORS
from dansm.config.base import (
    Count,
    Expanded,
    Folder,
    LearningRate,
    Model,
    Name,
    Number,
    Positive,
    Seed,
    Sha256,
    Shape,
    distinct,
    name_of,
)
from dansm.errors import InputError


class _Files(Model):
    """A source that reads files."""

    folder: Folder


class _FirstFiles(_Files):
    """A source whose first images can do."""

    count: Count | None = Field(default=None, description="The first so many images; none: all")
    at_most: Count | None = Field(
        default=None, description="No more images than these; filled in by a reduced scale"
    )


class _WithTestSet(_Files):
    """A source that is published with a test set."""

    part: Literal["training", "test"] = Field(default="training", description="Which images")


class DigitsSource(Model):
    """scikit-learn's 1 797 handwritten digits, which ship inside the package."""

    kind: Literal["sklearn_digits"]


class Cifar10Source(_WithTestSet):
    """CIFAR-10's 50 000 training images, from the archive in ``folder`` or what it unpacks to."""

    kind: Literal["cifar10"]
    published: StrictBool = Field(
        default=True, description="Or else made-up images, as reduced scales have them"
    )


class MnistSource(_WithTestSet):
    """The 60 000 training images of MNIST or Fashion-MNIST, from idx files, gzipped or not."""

    kind: Literal["mnist", "fashion_mnist"]


class LsunSource(_FirstFiles):
    """One LSUN category from its published zip in ``folder`` or the LMDB in it, centre-cropped."""

    kind: Literal["lsun"]
    category: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        description="LMDB name without its ending, e.g. bedroom_train"
    )
    sha256: Sha256 | None = Field(
        default=None, description="Of the zip; LSUN publishes none, the download records it"
    )


class ImageFolderSource(_FirstFiles):
    """Every image below ``folder``, at any depth, in the order of their paths, centre-cropped."""

    kind: Literal["image_folder"]
    labels: StrictBool = Field(
        default=True, description="Whether the folders in it, where there are any, are classes"
    )
    per_class: Count | None = Field(
        default=None, description="The first so many images of each class; none: all"
    )

    @model_validator(mode="after")
    def _can_choose(self) -> "ImageFolderSource":
        if self.per_class is not None and (self.count is not None or not self.labels):
            raise ValueError("per_class: expected classes, and no count beside it")
        return self


class ImageNet64Source(_FirstFiles):
    """ImageNet's training images at 64×64, as published: ``train_data_batch_{1..10}.npz``."""

    kind: Literal["imagenet64"]


class LatentSource(Model):
    """Another dataset's images, encoded by an autoencoder."""

    kind: Literal["latents"]
    of: Name
    autoencoder: Name
    posterior: Literal["mean", "sample"] = Field(
        default="mean",
        description="Train on the means, or on samples drawn anew each time a row is read",
    )


# Training images and those kept apart.
Part = Literal["training", "held_out"]
PARTS: tuple[Part, ...] = get_args(Part)
PixelSource = (
    DigitsSource | Cifar10Source | MnistSource | LsunSource | ImageFolderSource | ImageNet64Source
)
Source = Annotated[PixelSource | LatentSource, Field(discriminator="kind")]


# Those of random weights stand in at a reduced scale; nobody names them.
_STANDINS = {entry.standin for entry in EXTRACTORS.values()}
Extractor = name_of("extractor", [name for name in EXTRACTORS if name not in _STANDINS])


class HeldOut(Model):
    """Images that nothing is trained on, in one of four ways."""

    share: Annotated[Number, Field(gt=0, lt=1)] | None = Field(
        default=None, description="So large a part of the source's images, at random"
    )
    beyond: Count | None = Field(
        default=None, description="So many that follow the source's first count"
    )
    folder: Folder | None = Field(default=None, description="The images in another folder")
    published: Literal[True] | None = Field(
        default=None, description="The test set that is published with the source"
    )

    @model_validator(mode="after")
    def _one_way(self) -> "HeldOut":
        names = type(self).model_fields
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of {[*names]}, found {given or 'none'}")
        return self

    def source(self, source: PixelSource, part: Part) -> PixelSource:
        """Return what a part of the images is read from, of which it is all or some."""
        changes: dict[str, object] = {}
        if part == "held_out" and self.published:
            changes = {"part": "test"}
        elif part == "held_out" and self.folder is not None:
            changes = {"folder": self.folder, "count": None, "per_class": None}
        elif part == "held_out" and self.beyond is not None:
            changes = {"count": source.count + self.beyond, "at_most": None}
        return source.model_copy(update=changes)


class PotentialsFit(Model):
    """How the potentials of the coupling ``semidiscrete`` are fitted to a dataset."""

    steps: Count
    batch_size: Count = Field(description="Noises a step")
    learning_rate: LearningRate
    seed: Seed
    largest_unevenness: Positive | None = Field(
        default=2.0,
        description="A fit is refused if the chi-square divergence of usage from uniform is a "
        "larger multiple of what uniform draws show; none: never",
    )


class Dataset(Model):
    """A dataset: where it comes from and how generated images are compared with it."""

    source: Source
    shape: Shape = Field(description="Channels, height, width of what the network sees")
    licence: str
    horizontal_flips: StrictBool = False
    held_out: HeldOut | None = Field(
        default=None,
        description="Images kept apart, which generated ones are compared with too; none: none",
    )
    reference: Part | None = Field(
        default=None,
        description="With which images verdicts compare; none: held-out ones where there are some",
    )
    features: Annotated[list[Extractor], AfterValidator(distinct)] = Field(
        default=[], description="Feature extractors of its distances"
    )
    potentials: PotentialsFit | None = Field(
        default=None, description="In place of the section potentials, for this dataset"
    )


class TrainedAutoencoder(Model):
    """A small AutoencoderKL trained by the workflow on a pixel dataset."""

    kind: Literal["trained"]
    dataset: Name
    channels: list[Count] = Field(min_length=1)
    latent_channels: Count
    budget_images: Count
    batch_size: Count
    learning_rate: LearningRate
    kl_weight: Annotated[Number, Field(ge=0)]
    seed: Seed


class Published(Model):
    """What others published in diffusers format: a folder, or a commit of the hub's."""

    name: Expanded = Field(description="A local folder, or a hub name such as owner/name")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, description="Commit of the hub's repository, 40 hexadecimal digits"
    )

    def is_folder(self, what: str) -> bool:
        """Return whether it is in a folder; otherwise it is on the hub.

        Raises
        ------
        InputError
            If its name is neither a folder nor a hub name with a commit; it names ``what`` was
            expected.
        """
        if Path(self.name).is_dir():
            return True
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.name) or self.name.startswith("."):
            raise InputError(
                f"{self.name}: expected {what} or a hub name (owner/name), found no such folder"
            )
        if self.revision is None:
            raise InputError(
                f"{self.name}: expected a folder, or the revision of the hub's repository to take "
                "(its commit, 40 hexadecimal digits), found neither"
            )
        return False


class PretrainedAutoencoder(Published):
    """A published AutoencoderKL or AutoencoderTiny in diffusers format."""

    kind: Literal["pretrained"]
    subfolder: Annotated[str, Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$")] | None = None
    sha256: Sha256 | None = Field(
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
    """A small classifier whose penultimate activations are a dataset's features.

    It learns the training images; its accuracy is told on the held-out ones.
    """

    channels: Count = Field(description="Of the first convolution; each block doubles them")
    blocks: Count = Field(
        default=1, description="Of two convolutions each, after which the sides are halved"
    )
    features: Count
    epochs: Count
    batch_size: Count
    learning_rate: LearningRate
    seed: Seed
