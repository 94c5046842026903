"""The configuration: datasets, networks, recipes, runs, comparisons and what is measured.

`load_config` reads ``config/config.yaml`` into models, checks every value and every reference
between them, and raises one `dansm.errors.InputError` that lists all that is wrong.
"""

from dansm.config.base import Model, Shape
from dansm.config.claims import (
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
from dansm.config.cluster import Cluster
from dansm.config.comparisons import Comparison, OwnSampling
from dansm.config.configuration import INCEPTION_FILE, INCEPTION_SHA256, Config
from dansm.config.datasets import (
    PARTS,
    Cifar10Source,
    Classifier,
    Dataset,
    DigitsSource,
    HeldOut,
    ImageFolderSource,
    ImageNet64Source,
    LatentSource,
    LsunSource,
    MnistSource,
    Part,
    PixelSource,
    PotentialsFit,
    PretrainedAutoencoder,
    Published,
    Source,
    TrainedAutoencoder,
)
from dansm.config.measurements import (
    BestOfK,
    CouplingMarginals,
    MatchingCost,
    MatchingShare,
    NoiseSamplePairs,
    Pipeline,
)
from dansm.config.reading import config_schema, load_config, parse_config, read_yaml
from dansm.config.runs import Hardware, ModelFolder, Network, Recipe, Run, RunSettings, Sampling
from dansm.config.scale import Scale
