"""All that can be named, in one place and free of PyTorch.

Couplings and processes have their entries beside their code; those of extractors, metrics and
sources of datasets are here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dansm.couplings.registry import COUPLINGS, CouplingEntry, Entry, Options, Pick, by_name
from dansm.processes.objective_registry import LOSSES, TIMES
from dansm.processes.registry import PROCESSES
from dansm.processes.solver_registry import GRIDS, SOLVERS

__all__ = [
    "COUPLINGS",
    "EXTRACTORS",
    "GRIDS",
    "LOSSES",
    "METRICS",
    "PROCESSES",
    "SOLVERS",
    "SOURCES",
    "SPACES",
    "TIMES",
    "CouplingEntry",
    "Entry",
    "ExtractorEntry",
    "MetricEntry",
    "Options",
    "Pick",
    "SourceEntry",
    "by_name",
]


@dataclass(frozen=True)
class ExtractorEntry(Entry):
    """A network whose activations are the features of images.

    Attributes
    ----------
    weights
        Whose weights it has: Inception's published ones, made-up ones of the same shape, or those
        of the dataset's own classifier.
    fid
        Whether the Fréchet distance over its features is an FID.
    score
        The metric that its class probabilities give.
    large
        Whether it is worth a GPU and several threads.
    standin
        The extractor of random weights that a reduced scale uses in its place.
    """

    weights: str = ""
    fid: bool = False
    score: str = "classifier_score"
    large: bool = False
    standin: str | None = None

    @property
    def fid_or_standin(self) -> bool:
        """Whether its Fréchet distance is an FID, or stands for one at a reduced scale."""
        return self.fid or self.weights == "random_inception"


EXTRACTORS: Mapping[str, ExtractorEntry] = by_name(
    [
        ExtractorEntry(
            "classifier",
            "dansm.metrics.extractors:classifier_features",
            "classifier features",
            "penultimate activations of a small classifier trained on the dataset",
            weights="classifier",
        ),
        *(
            entry
            for mode, what in (
                ("legacy_tensorflow", "resized without antialiasing, as TensorFlow did"),
                ("clean", "resized with antialiasing (Parmar et al., 2022)"),
            )
            for entry in (
                ExtractorEntry(
                    f"inception_{mode}",
                    f"dansm.metrics.extractors:inception_{mode}",
                    f"inception_{mode} features",
                    f"pool3 of Inception, images {what}",
                    weights="inception",
                    fid=True,
                    score="inception_score",
                    large=True,
                    standin=f"random_inception_{mode}",
                ),
                ExtractorEntry(
                    f"random_inception_{mode}",
                    f"dansm.metrics.extractors:inception_{mode}",
                    f"random_inception_{mode} features",
                    "the same with random weights, at a reduced scale",
                    weights="random_inception",
                    large=True,
                ),
            )
        ),
    ]
)


SPACES: Mapping[str, ExtractorEntry] = EXTRACTORS | by_name(
    [ExtractorEntry("pixels", "dansm.metrics.memorising:pixels", "pixels", "images themselves")]
)
"""Where distances of images are measured: features, and what needs no extractor."""


@dataclass(frozen=True)
class MetricEntry(Entry):
    """What compares generated with real images.

    Attributes
    ----------
    lower_is_better
        Its direction.
    every_snapshot
        Whether each snapshot has it, or the finished model alone.
    inception_title
        What it is called over Inception's features, where that is something else.
    equal_numbers
        Whether it depends on how many images there are, so that it is over at most as many
        generated ones as are kept of the real ones.
    memorising
        Whether it compares distances to training images with those to held-out ones
        (`dansm.metrics.memorising`), in place of generated images with real ones.
    """

    lower_is_better: bool = True
    every_snapshot: bool = False
    inception_title: str | None = None
    equal_numbers: bool = False
    memorising: bool = False


# The real images that generated ones are compared with, as titles call them.
REFERENCES = {"training": "training images", "held_out": "held-out images"}

METRICS: Mapping[str, MetricEntry] = by_name(
    [
        MetricEntry(
            "frechet_distance",
            "dansm.metrics.distances:frechet_distance",
            "Fréchet distance",
            "of Gaussians fitted to both sets of features; FID over Inception's",
            every_snapshot=True,
            inception_title="FID",
        ),
        MetricEntry(
            "kernel_distance",
            "dansm.metrics.distances:kernel_distance",
            "Kernel distance",
            "KID over Inception's features",
            inception_title="KID",
        ),
        MetricEntry(
            "precision",
            "dansm.metrics.distances:precision",
            "Precision",
            "share of generated images near a real one",
            lower_is_better=False,
            equal_numbers=True,
        ),
        MetricEntry(
            "recall",
            "dansm.metrics.distances:recall",
            "Recall",
            "share of real images near a generated one",
            lower_is_better=False,
            equal_numbers=True,
        ),
        MetricEntry(
            "inception_score",
            "dansm.metrics.distances:classifier_score",
            "Inception score",
            "how sure and how varied Inception's classes are",
            lower_is_better=False,
        ),
        MetricEntry(
            "classifier_score",
            "dansm.metrics.distances:classifier_score",
            "Classifier score",
            "the same over another classifier's classes",
            lower_is_better=False,
        ),
        MetricEntry(
            "nearer_to_training",
            "dansm.metrics.memorising:nearer_to_training",
            "Share nearer to training images",
            "share of images nearer to a training image than to any of as many held-out ones",
            memorising=True,
        ),
        MetricEntry(
            "copies",
            "dansm.metrics.memorising:copies",
            "Share of copies",
            "share of images near to a training image as 5 % of the held-out ones are",
            memorising=True,
        ),
    ]
)


@dataclass(frozen=True)
class SourceEntry(Entry):
    """Where the images of a dataset come from.

    Its implementation is a function ``(source, shape, workers)`` that returns
    `dansm.data.sources.images.Images`.

    Attributes
    ----------
    files
        Published files by name, in which fields of the source may stand: what they unpack to, which
        makes them unnecessary, and their checksum, ``md5:…`` or ``sha256:…``; without one, the
        source's own ``sha256``.
    test_files
        The same of the test set, where that has files of its own.
    home
        Address of the folder that holds them.
    standin
        A function ``(source, shape, images)`` that makes up such files for reduced scales, as
        ``implementation`` names one.
    images
        How many images it holds, where that is known beforehand.
    """

    files: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    test_files: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    home: str = ""
    standin: str = ""
    images: int | None = None

    def load_standin(self) -> Any:
        """Import and return the function that makes up files."""
        return replace(self, implementation=self.standin).load()


# Of a category of LSUN, in its published archive.
LSUN_IMAGES = {"bedroom_train": 3_033_042, "church_outdoor_train": 126_227}
# The checksums are those that torchvision checks; LSUN's authors publish none.
SOURCES: Mapping[str, SourceEntry] = by_name(
    [
        SourceEntry(
            "sklearn_digits",
            "dansm.data.sources.digits:read",
            "Digits",
            "scikit-learn's handwritten digits, inside the package",
            images=1797,
        ),
        SourceEntry(
            "cifar10",
            "dansm.data.sources.cifar10:read",
            "CIFAR-10",
            "its training or test images, from the published archive",
            files={
                "cifar-10-python.tar.gz": (
                    "cifar-10-batches-py",
                    "md5:c58f30108f718f92721af3b95e74349a",
                )
            },
            home="https://www.cs.toronto.edu/~kriz",
            standin="dansm.data.sources.cifar10:write_standin",
            images=50_000,
        ),
        SourceEntry(
            "mnist",
            "dansm.data.sources.mnist:read",
            "MNIST",
            "its training or test images, from idx files",
            files={
                "train-images-idx3-ubyte.gz": (
                    "train-images-idx3-ubyte",
                    "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
                ),
                "train-labels-idx1-ubyte.gz": (
                    "train-labels-idx1-ubyte",
                    "md5:d53e105ee54ea40749a09fcbcd1e9432",
                ),
            },
            test_files={
                "t10k-images-idx3-ubyte.gz": (
                    "t10k-images-idx3-ubyte",
                    "md5:9fb629c4189551a2d022fa330f9573f3",
                ),
                "t10k-labels-idx1-ubyte.gz": (
                    "t10k-labels-idx1-ubyte",
                    "md5:ec29112dd5afa0611ce80d1b7f02629c",
                ),
            },
            home="https://ossci-datasets.s3.amazonaws.com/mnist",
            standin="dansm.data.sources.mnist:write_standin",
            images=60_000,
        ),
        SourceEntry(
            "fashion_mnist",
            "dansm.data.sources.mnist:read",
            "Fashion-MNIST",
            "its training or test images, from idx files",
            files={
                "train-images-idx3-ubyte.gz": (
                    "train-images-idx3-ubyte",
                    "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                ),
                "train-labels-idx1-ubyte.gz": (
                    "train-labels-idx1-ubyte",
                    "md5:25c81989df183df01b3e8a0aad5dffbe",
                ),
            },
            test_files={
                "t10k-images-idx3-ubyte.gz": (
                    "t10k-images-idx3-ubyte",
                    "md5:bef4ecab320f06d8554ea6380940ec79",
                ),
                "t10k-labels-idx1-ubyte.gz": (
                    "t10k-labels-idx1-ubyte",
                    "md5:bb300cfdad3c16e7a12a480ee83cd310",
                ),
            },
            home="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            standin="dansm.data.sources.mnist:write_standin",
            images=60_000,
        ),
        SourceEntry(
            "lsun",
            "dansm.data.sources.lsun:read",
            "LSUN",
            "one category, from its zip or LMDB",
            files={"{category}_lmdb.zip": ("{category}_lmdb/data.mdb", None)},
            home="http://dl.yf.io/lsun/scenes",
            standin="dansm.data.sources.lsun:write_standin",
        ),
        SourceEntry(
            "image_folder",
            "dansm.data.sources.image_folder:read",
            "Folder of images",
            "every image in a folder or below",
        ),
        SourceEntry(
            "imagenet64",
            "dansm.data.sources.imagenet64:read",
            "ImageNet 64×64",
            "its training images, as published",
            images=1_281_167,
        ),
    ]
)
"""Every kind of source by its name; `dansm.config.datasets` has what each is told."""
