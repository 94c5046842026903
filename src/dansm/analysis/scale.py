"""What training with each coupling costs at sizes that were not run: calculated, on paper.

Three kinds of numbers meet here. *Measured*: what a CPU takes to draw noise and to solve
assignments, from the table of `dansm.analysis.matching_cost`. *Calculated*: operations and bytes,
by the formulas in the docstrings, with N images in d dimensions, b samples of a batch in one
process, and K classes within which is matched (1 where classes do not count). *Assumed*: how fast a
GPU does them, in `Card`.

Matching runs beside training. What it does on the GPU takes the GPU's time from training; what it
does on the CPU makes training wait only where it takes longer than all that the GPU does.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from dansm.catalogue import LSUN_IMAGES, SOURCES
from dansm.config import Network, Shape
from dansm.errors import InputError
from dansm.models.flops import DEFAULT_GPU, PEAKS, SHARE_OF_PEAK, network_size

GPUS = (1, 8, 64)
BATCH = 1024  # images of one step, shared out among the GPUs
# As `dansm.couplings.potentials` and `dansm.training.inputs` have them by default.
FIT_BATCH = 1024
NOISES_PER_SAMPLE = 20  # of the measurement of evenness
LARGEST_UNEVENNESS = 2.0
ADAPTIVE_EVALUATIONS = 100  # of a teacher, for a pair
CANDIDATES = 64  # of the best of k
SCORE_BLOCK = 16384  # samples scored at a time
NOTICED = 0.1  # a share of the training's time
_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Card:
    """A GPU, by what is assumed to be reached of its published peaks.

    Attributes
    ----------
    training, evaluation
        FLOP/s of networks, in half and in single precision.
    products
        FLOP/s of matrix products in float32, without TensorFloat-32: what couplings compute in.
    bandwidth
        Bytes/s that are read from its memory.
    memory
        Bytes that matching may have; the rest is for training.
    """

    training: float
    evaluation: float
    products: float
    bandwidth: float
    memory: float


# From the data sheet of NVIDIA's A100 of 80 GB (SXM): FLOP/s in float32 on its plain cores, which
# is also that of float64 on its tensor cores, bytes/s and bytes.
FLOAT32_PEAK, BANDWIDTH_PEAK, MEMORY = 19.5e12, 2.039e12, 80e9
SHARE_OF_PRODUCT = 0.5  # of both peaks, in a large product
SHARE_OF_MEMORY = 0.5
CARD = Card(
    *(SHARE_OF_PEAK * peak for peak in PEAKS[DEFAULT_GPU]),
    SHARE_OF_PRODUCT * FLOAT32_PEAK,
    SHARE_OF_PRODUCT * BANDWIDTH_PEAK,
    SHARE_OF_MEMORY * MEMORY,
)


@dataclass(frozen=True)
class Data:
    """A dataset.

    Attributes
    ----------
    title
        For people.
    images
        N.
    shape
        Of what is trained on; d is the product.
    pixels
        Values of an image, one byte each in the store of pixels.
    classes
        K, where it is matched within classes.
    latent
        Whether latents are stored beside the pixels, two bytes a value.
    """

    title: str
    images: int
    shape: Shape
    pixels: int
    classes: int = 1
    latent: bool = False

    @property
    def dimensions(self) -> int:
        """Return d."""
        return math.prod(self.shape)

    @property
    def pixel_bytes(self) -> int:
        """Return the size of the store of pixels, N·pixels."""
        return self.images * self.pixels

    @property
    def latent_bytes(self) -> int:
        """Return the size of the store of latents, 2·N·d, or 0."""
        return 2 * self.images * self.dimensions * self.latent


_BEDROOM, _IMAGENET = LSUN_IMAGES["bedroom_train"], SOURCES["imagenet64"].images
DATASETS = {
    "bedroom": Data("LSUN Bedroom, latents", _BEDROOM, (4, 32, 32), 3 * 256**2, latent=True),
    "imagenet64": Data("ImageNet-64, pixels", _IMAGENET, (3, 64, 64), 3 * 64**2, 1000),
    "imagenet256": Data(
        "ImageNet-256, latents", _IMAGENET, (4, 32, 32), 3 * 256**2, 1000, latent=True
    ),
}


@dataclass(frozen=True)
class Case:
    """A coupling with its match size, of all samples or within classes."""

    coupling: str
    size: int = 0
    covariance: bool = False
    within: bool = False

    @property
    def title(self) -> str:
        """Return its name for people."""
        parts = [f"`{self.coupling}`", f"{self.size:,}" if self.size else ""]
        parts += ["covariance" * self.covariance, "within classes" * self.within]
        return ", ".join(filter(None, parts))


CASES = (
    Case("independent"),
    Case("greedy", 10_000),
    Case("greedy", 1_000_000),
    Case("hungarian", 1000),
    Case("hungarian", 10_000),
    Case("immiscible"),
    Case("minibatch_ot"),
    Case("knn", CANDIDATES),
    Case("semidiscrete"),
    Case("semidiscrete", covariance=True),
    Case("loom"),
    Case("teacher_pairs"),
    Case("greedy", 10_000, within=True),
    Case("hungarian", 1000, within=True),
    Case("semidiscrete", within=True),
)


@dataclass(frozen=True)
class Training:
    """What is trained on a dataset, whatever the coupling.

    Attributes
    ----------
    flops, parameters
        Of the network: FLOPs of a forward pass for one sample. A step counts three.
    images
        Seen in training.
    """

    flops: float
    parameters: int
    images: int

    def seconds(self, card: Card = CARD) -> float:
        """Return the GPU's seconds for an image of training."""
        return 3 * self.flops / card.training


def training_of(data: Data, network: Network, images: int) -> Training:
    """Return the training of a network on a dataset, operations counted."""
    return Training(*network_size(network, data.shape), images)


@dataclass(frozen=True)
class Cost:
    """What a coupling adds to a training.

    Attributes
    ----------
    gpu, cpu
        Seconds a sample, of one process: of the GPU beside training's, and of the CPU.
    gpu_memory, host_memory
        Bytes of one process.
    before
        Seconds of one GPU before training.
    before_on_cpu
        Seconds of the measured CPU for the same, where the workflow does it there; else 0.
    trainings
        Trainings in all, that of a teacher included.
    disk
        Bytes on the disk.
    """

    gpu: float = 0.0
    cpu: float = 0.0
    gpu_memory: float = 0.0
    host_memory: float = 0.0
    before: float = 0.0
    before_on_cpu: float = 0.0
    trainings: int = 1
    disk: float = 0.0


class Times:
    """Measured seconds a sample on a CPU, carried to other sizes by a power of the size.

    Parameters
    ----------
    costs
        With the columns `dansm.io.tables.MATCHING_COST_COLUMNS`.
    """

    def __init__(self, costs: pd.DataFrame) -> None:
        self._costs = costs[costs["microseconds_per_sample"].notna()]
        self.threads = sorted(self._costs["threads"].unique())

    def drawing(self, dimensions: int, batch: float) -> float:
        """Return the time to draw a noise: that of ``independent``."""
        return self._nearest("independent", dimensions, batch_size=batch)[0]

    def assignment(self, dimensions: int, size: float) -> float:
        """Return the time of an optimal assignment of ``size`` samples, n² a sample.

        That is n³ a set, the worst case; costs are ready.
        """
        seconds, measured = self._nearest("scipy", dimensions, match_size=size)
        return seconds * (size / measured) ** 2

    def candidates(self, dimensions: int, size: float, batch: float) -> float:
        """Return the time to draw and compare ``size`` noises: that of ``knn``, linear."""
        seconds, measured = self._nearest("knn", dimensions, batch_size=batch, match_size=size)
        return seconds * size / measured

    def exchange(self, dimensions: int, batch: float) -> float:
        """Return the time of ``loom``."""
        return self._nearest("loom", dimensions, batch_size=batch)[0]

    def scoring(self, dimensions: int, images: float, batch: float) -> float:
        """Return the time to score all images for a noise: that of ``semidiscrete``, linear."""
        sizes = {"batch_size": batch, "match_size": images}
        seconds, measured = self._nearest("semidiscrete", dimensions, **sizes)
        return seconds * images / measured

    def _nearest(self, method: str, dimensions: int, **sizes: float) -> tuple[float, float]:
        """Return the seconds of the nearest sizes measured, and the last of these sizes."""
        rows = self._costs[self._costs["method"] == method]
        rows = rows[rows["dimensions"] == dimensions]
        if rows.empty:
            raise InputError(f"{method}: expected times in {dimensions} dimensions, found none")
        found = math.nan
        for name, size in sizes.items():
            known = rows[name].astype(float)
            found = min(known.unique(), key=lambda one, size=size: abs(math.log(one / size)))
            rows = rows[known == found]
        return float(rows["microseconds_per_sample"].iloc[0]) / 1e6, found


def product_seconds(rows: float, columns: float, dimensions: int, card: Card = CARD) -> float:
    """Return a GPU's seconds for a product of rows with columns, in so many dimensions.

    2·rows·columns·d operations or the reading of the columns, 4·columns·d bytes, whichever takes
    longer.
    """
    operations = 2 * rows * columns * dimensions / card.products
    return max(operations, _FLOAT * columns * dimensions / card.bandwidth)


def fit_noises(images: int) -> float:
    """Return the noises of a fit of potentials that is just even enough to be accepted.

    Its divergence ends at about 4/3 · N / noises, and may add to the floor of the measurement,
    1 / `NOISES_PER_SAMPLE`, as much as `LARGEST_UNEVENNESS` says.
    """
    return 4 / 3 * images * NOISES_PER_SAMPLE / (LARGEST_UNEVENNESS - 1)


def cost_of(
    case: Case, data: Data, training: Training, times: Times, gpus: int, card: Card = CARD
) -> Cost:
    """Return what a coupling adds to a training on so many GPUs, of one process each.

    With b = `BATCH` / GPUs, of which r = max(1, b / K) are of one class and share a product:

    - ``independent``: the drawing of a noise.
    - ``greedy``, match size m: a product of r samples with m/2 noises, as many as are left on
      average; K pools, 4·K·m·d bytes; the drawing of a noise.
    - ``hungarian``, match size n: a product of n with n; an assignment of n, n³; samples and noises
      of K sets, 8·K·n·d bytes, and the costs, 4·n² bytes on the GPU and 8·n² beside it.
    - ``immiscible``, ``minibatch_ot`` (exact): the same with n = r.
    - ``knn``, k: the drawing and comparing of k noises.
    - ``semidiscrete``: a product of r with N/K samples; the dataset, 4·N·d bytes, and scores of a
      block. Before: as many products as `fit_noises` and the measurement of evenness need. In the
      metric of the covariance also a product of b noises with d², once one of N samples, and 4·d²
      bytes.
    - ``loom``: as measured, on the CPU; 8·N bytes.
    - ``teacher_pairs``: a training of the teacher, and `ADAPTIVE_EVALUATIONS` evaluations for each
      of N pairs; 8·N·d bytes on the disk.

    Raises
    ------
    InputError
        If the coupling has no formula here, or nothing was measured in so many dimensions.
    """
    d, images = data.dimensions, data.images
    classes = data.classes if case.within else 1
    batch = BATCH / gpus
    shared = max(1.0, batch / classes)
    drawing = times.drawing(d, batch)
    if case.coupling == "independent":
        return Cost(cpu=drawing)
    if case.coupling == "greedy":
        matching = product_seconds(shared, case.size / 2, d, card) / shared
        return Cost(matching, drawing, gpu_memory=_FLOAT * classes * case.size * d)
    if case.coupling in ("hungarian", "immiscible", "minibatch_ot"):
        size = case.size or shared
        return Cost(
            product_seconds(size, size, d, card) / size,
            drawing + times.assignment(d, size),
            gpu_memory=_FLOAT * ((2 * classes * size * d if case.size else 0) + size**2),
            host_memory=2 * _FLOAT * size**2,
        )
    if case.coupling == "knn":
        return Cost(cpu=times.candidates(d, case.size, batch))
    if case.coupling == "loom":
        return Cost(cpu=times.exchange(d, batch), host_memory=8 * images)
    if case.coupling == "teacher_pairs":
        pairs = images * ADAPTIVE_EVALUATIONS * training.flops / card.evaluation
        return Cost(before=pairs, trainings=2, disk=2 * _FLOAT * images * d)
    if case.coupling == "semidiscrete":
        of_class = images / classes
        together = max(1.0, FIT_BATCH / classes)
        noises = fit_noises(images) + NOISES_PER_SAMPLE * images
        weighing, fitted = (
            (product_seconds(b, d, d, card) / b if case.covariance else 0.0)
            for b in (batch, FIT_BATCH)
        )
        covariance = product_seconds(images, d, d, card) if case.covariance else 0.0
        scoring = product_seconds(together, of_class, d, card) / together
        held = images * d + min(of_class, SCORE_BLOCK) * (batch + d) + case.covariance * d**2
        return Cost(
            product_seconds(shared, of_class, d, card) / shared + weighing,
            drawing,
            gpu_memory=_FLOAT * held,
            host_memory=_FLOAT * images * d,
            before=noises * (scoring + fitted) + covariance,
            before_on_cpu=noises * times.scoring(d, of_class, together),
        )
    raise InputError(f"coupling {case.coupling}: expected one with a formula, found none")


def cases_of(data: Data) -> list[Case]:
    """Return the cases that a dataset has: within classes where it has classes."""
    return [case for case in CASES if data.classes > 1 or not case.within]


def scale_table(
    data: Data,
    training: Training,
    costs: pd.DataFrame,
    cases: Iterable[Case] | None = None,
    card: Card = CARD,
) -> pd.DataFrame:
    """Return what training costs, a row for each case and number of GPUs.

    Parameters
    ----------
    costs
        With the columns `dansm.io.tables.MATCHING_COST_COLUMNS`.
    cases
        Those of the dataset unless given.

    Returns
    -------
    DataFrame
        ``case``, ``gpus``, the attributes of `Cost`, ``hours`` from the beginning to the trained
        model, ``gpu_hours`` that are held, and ``limit``: what is too much, of ``memory`` (more
        than `Card.memory`), ``cpu`` (training waits for it), ``gpu`` (above `NOTICED` of training)
        and ``before`` (longer than the training itself), or nothing.
    """
    times, rows = Times(costs), []
    step = training.seconds(card)
    for case in cases_of(data) if cases is None else cases:
        for gpus in GPUS:
            cost = cost_of(case, data, training, times, gpus, card)
            each = max(step + cost.gpu, cost.cpu)
            of_training = cost.trainings * training.images * each / gpus
            limits = {
                "memory": cost.gpu_memory > card.memory,
                "cpu": cost.cpu > step + cost.gpu,
                "gpu": cost.gpu > NOTICED * step,
                "before": cost.before > training.images * step / gpus,
            }
            rows.append(
                {
                    "case": case,
                    "gpus": gpus,
                    **vars(cost),
                    "hours": (of_training + cost.before) / 3600,
                    "gpu_hours": (of_training * gpus + cost.before) / 3600,
                    "limit": tuple(name for name, met in limits.items() if met),
                }
            )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Limits:
    """Up to where couplings are practical on a dataset.

    Attributes
    ----------
    pool_by_memory, pool_by_time
        Match sizes of ``greedy`` whose pool fills `Card.memory`, and whose matching takes `NOTICED`
        of training; within classes the first is K times smaller.
    pool_within
        The first within the dataset's classes.
    assigned
        Samples assigned together (``hungarian``, ``immiscible``, ``minibatch_ot``) at which the CPU
        takes as long as training.
    candidates
        Match size of ``knn`` at which it does.
    images_by_memory, images_by_time
        Images for which ``semidiscrete`` fills `Card.memory`, and takes `NOTICED` of training;
        within K classes the second is K times larger, as far as products stay large.
    visits
        How often ``loom`` exchanges the noise of an image, by GPUs: each has noises of its own.
    batch, batch_within
        Noises that an image of a batch can choose from, by GPUs, and within its class.
    """

    pool_by_memory: float
    pool_by_time: float
    pool_within: float
    assigned: float
    candidates: float
    images_by_memory: float
    images_by_time: float
    visits: tuple[float, ...]
    batch: tuple[float, ...]
    batch_within: tuple[float, ...]


def limits_of(data: Data, training: Training, costs: pd.DataFrame, card: Card = CARD) -> Limits:
    """Return up to where couplings are practical on a dataset, on one GPU unless it says by GPUs.

    These are the formulas of `cost_of`, solved for the size.
    """
    times, d, step = Times(costs), data.dimensions, training.seconds(card)
    by_memory = card.memory / (_FLOAT * d)
    columns = NOTICED * step * card.products / (2 * d)
    spare = max(0.0, step - times.drawing(d, BATCH))
    return Limits(
        pool_by_memory=by_memory,
        pool_by_time=2 * columns,
        pool_within=by_memory / data.classes,
        assigned=BATCH * math.sqrt(spare / times.assignment(d, BATCH)),
        candidates=CANDIDATES * step / times.candidates(d, CANDIDATES, BATCH),
        images_by_memory=by_memory,
        images_by_time=columns,
        visits=tuple(training.images / (data.images * gpus) for gpus in GPUS),
        batch=tuple(BATCH / gpus for gpus in GPUS),
        batch_within=tuple(max(1.0, BATCH / gpus / data.classes) for gpus in GPUS),
    )
