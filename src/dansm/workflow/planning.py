"""What a target costs before it is made: its jobs, hours of GPUs and CPUs, disk, downloads.

Snakemake says which jobs there are. What each of them computes follows from the configuration:
images, and floating-point operations an image, counted on networks without weights. How long that
takes follows from runs that are finished or, without one, from a device's published peak.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import torch
from pydantic import BaseModel, PositiveFloat, PositiveInt
from torch.utils.flop_counter import FlopCounterMode

from dansm.catalogue import EXTRACTORS, LSUN_IMAGES, SOURCES, Pick
from dansm.config import (
    INCEPTION_FILE,
    Config,
    OwnSampling,
    Part,
    PretrainedAutoencoder,
    Run,
    RunSettings,
    Shape,
    TrainedAutoencoder,
)
from dansm.errors import InputError
from dansm.io.files import read_model
from dansm.metrics.evaluation import GRID_IMAGES
from dansm.metrics.memorising import COMPARED, HELD_OUT, SEARCHED, SIDE
from dansm.metrics.statistics import KEPT_FEATURES
from dansm.models.autoencoders import autoencoder_skeleton
from dansm.models.flops import DEFAULT_GPU, PEAKS, SHARE_OF_PEAK, network_size
from dansm.models.pipelines import network_skeleton
from dansm.processes.grids import evaluations
from dansm.workflow.data_lookups import FOLDERS
from dansm.workflow.dry_run import Job
from dansm.workflow.run_lookups import RunLookups

CPU = "CPU"
# What follows was measured on 2 CPU cores: the rate of the digits' network on one of them, seconds
# of a job beside its work (a notebook is no more), to compare samples with the real images (by the
# Fréchet distance alone, and by all metrics, of large features; others are few), to decode a pixel,
# to time all methods of matching in a cell of the grid,
_CPU_FLOPS = 50e9
_JOB_SECONDS = 6.0
_FRECHET_SECONDS, _METRICS_SECONDS = 4.0, 40.0
_PIXEL_SECONDS = 4e-8
_CELL_SECONDS = 6.0
_DISK_BYTES_PER_SECOND = 300e6
_INCEPTION_FLOPS, _INCEPTION_FEATURES = 11.4e9, 2048
_FLOOR_SPLITS = 5
# An adaptive sampler evaluates the network as often as it must; about so often.
_ADAPTIVE_EVALUATIONS = 100
_KINDS_OF_NOISE = 3
_PUBLISHED_BYTES = {
    "cifar-10-python.tar.gz": 170_498_071,
    "mnist/train-images-idx3-ubyte.gz": 9_912_422,
    "mnist/train-labels-idx1-ubyte.gz": 28_881,
    "mnist/t10k-images-idx3-ubyte.gz": 1_648_877,
    "mnist/t10k-labels-idx1-ubyte.gz": 4_542,
    "fashion_mnist/train-images-idx3-ubyte.gz": 26_421_880,
    "fashion_mnist/train-labels-idx1-ubyte.gz": 29_515,
    "fashion_mnist/t10k-images-idx3-ubyte.gz": 4_422_102,
    "fashion_mnist/t10k-labels-idx1-ubyte.gz": 5_148,
    "bedroom_train_lmdb.zip": 45_900_000_000,
    "church_outdoor_train_lmdb.zip": 2_450_000_000,
}
_TEST_IMAGES = 10_000  # of MNIST, Fashion-MNIST and CIFAR-10
_AUTOENCODER_BYTES, _INCEPTION_BYTES = 334_643_276, 95_628_359
# Stable Diffusion 1.5's text encoder, network and autoencoder in single precision.
_PIPELINE_BYTES, _PROMPT_TOKENS = 4_266_000_000, 77


class Work(NamedTuple):
    """Images that a network sees; ``kind`` is ``train`` or ``evaluate``."""

    kind: str
    images: int
    flops: float  # an image


@dataclass(frozen=True)
class Load:
    """What a job does, whatever the device.

    ``seconds`` come on top of the work; ``disk`` is what stays, in bytes, and ``download`` too.
    """

    work: tuple[Work, ...] = ()
    seconds: float = 0.0
    disk: float = 0.0
    download: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A table of jobs by rule and subject, and what its figures rest on."""

    jobs: pd.DataFrame
    targets: tuple[str, ...]
    basis: tuple[str, ...]

    def text(self, every_rule: bool = False) -> str:
        """Return the table with its totals, for people.

        Rules that make tables and figures in seconds share a line, unless ``every_rule``.
        """
        rows = self.jobs
        if not every_rule:
            small = ~rows["rule"].isin([*_LARGE, *self.targets])
            rows = rows.assign(rule=rows["rule"].mask(small, "tables, figures"))
            rows = rows.groupby(["rule", "subject"], sort=False, as_index=False).sum()
        sums = self.jobs.drop(columns=["rule", "subject"]).sum()
        total = {"rule": "total", "subject": "", **sums}
        shown = pd.concat([rows, pd.DataFrame([total]).astype({"jobs": int})], ignore_index=True)
        for columns, readable in (
            (("gpu_hours", "cpu_hours"), _readable_hours),
            (("disk", "download"), _readable_bytes),
        ):
            for column in columns:
                shown[column] = shown[column].map(readable)
        lines = shown.to_string(index=False).splitlines()
        ruled = [*lines[:-1], "-" * len(lines[0]), lines[-1]]
        return "\n".join([*ruled, "", "The estimate rests on:", *(f"- {b}" for b in self.basis)])


def make_plan(config: Config, jobs: Sequence[Job], gpu: str | None = None) -> Plan:
    """Estimate what jobs cost.

    Parameters
    ----------
    gpu
        One of `PEAKS` or of those that finished runs were trained on, or a part of its name; None
        takes this machine's, or one of finished runs, or `DEFAULT_GPU`.

    Raises
    ------
    InputError
        If nothing is known of that GPU.
    """
    look, measured = RunLookups(config), _measured(Path(config.results))
    targets = ("stage_data", *config.targets, "all")
    cpu = on_gpu = Rates(CPU, measured.get(CPU, []))
    if any(job.gpus for job in jobs):
        name = _choose_gpu(gpu, measured, config)
        on_gpu = Rates(name, measured.get(name, [])) if name else cpu
    rows = []
    for job in jobs:
        load = load_of(look, job)
        device, gpus = (on_gpu, job.gpus) if job.gpus and on_gpu is not cpu else (cpu, 0)
        started = 0.0 if job.rule in targets else _JOB_SECONDS
        seconds = started + load.seconds + load.disk / _DISK_BYTES_PER_SECOND
        working = sum(device.seconds(work) for work in load.work) / max(1, gpus)
        hours = (seconds + working) / 3600
        cost = (1, hours * gpus, hours * job.threads, load.disk, load.download)
        rows.append((job.rule, _subject(job), *cost))
    columns = ["rule", "subject", "jobs", "gpu_hours", "cpu_hours", "disk", "download"]
    table = pd.DataFrame(rows, columns=columns).groupby(columns[:2], sort=False).sum()
    others = (rule for rule, _ in table.index if rule not in [*_LARGE, *targets])
    order = [*_LARGE, *others, *targets]
    keys = sorted(table.index, key=lambda key: (order.index(key[0]), key[1]))
    basis = [device.basis for device in dict.fromkeys((cpu, on_gpu))]
    basis.append(f"a disk that writes {_DISK_BYTES_PER_SECOND / 1e6:.0f} MB/s")
    basis.append("hours are what jobs hold: their time, by the GPUs or threads that they ask for")
    basis.append("matching runs beside training and is taken to cost no time of its own")
    return Plan(table.loc[keys].reset_index(), targets, tuple(basis))


def load_of(look: RunLookups, job: Job) -> Load:
    """Return what a job does."""
    of_rule = vars(_Loads).get(job.rule)
    return of_rule(_Loads(look), SimpleNamespace(**job.wildcards)) if of_rule else Load()


class _Loads:
    """What a job does, by rule; of other rules it is nothing but their start."""

    def __init__(self, look: RunLookups) -> None:
        self._look = look
        self._config = look.config

    def download(self, wildcards: Any) -> Load:
        file = self._look.published(wildcards.dataset)[wildcards.file]
        # Of a folder that may not be entered, they say no.
        there = os.path.exists(file.path) or os.path.exists(file.unpacked)
        size = 0 if there else self._published_bytes(wildcards.dataset, wildcards.file)
        return Load(disk=size, download=size)

    def build_dataset(self, wildcards: Any) -> Load:
        name = wildcards.dataset
        shape, count = self._config.dataset(name).shape, self._image_count(name)
        disk = count * math.prod(shape)
        # LSUN's zip, which stays, takes its size once more when it is unpacked.
        if not self._look.has_standin(name):
            packed = [f for f in self._look.published(name).items() if f[0].endswith(".zip")]
            missing = [file for file, found in packed if not os.path.exists(found.unpacked)]
            disk += sum(self._published_bytes(name, file) for file in missing)
        return Load(seconds=count * shape[1] * shape[2] * _PIXEL_SECONDS, disk=disk)

    def build_held_out(self, wildcards: Any) -> Load:
        name = wildcards.dataset
        pixels = math.prod(self._config.dataset(name).shape)
        count = self._image_count(name, "held_out")
        # Read twice, and compared with the training images.
        read = 2 * count + self._image_count(name)
        return Load(seconds=read * pixels * _PIXEL_SECONDS, disk=count * pixels)

    def fetch_autoencoder(self, wildcards: Any) -> Load:
        local = os.path.isdir(self._config.autoencoders[wildcards.autoencoder].name)
        return Load(disk=_AUTOENCODER_BYTES, download=0 if local else _AUTOENCODER_BYTES)

    def fetch_inception(self, wildcards: Any) -> Load:
        cached = (Path(torch.hub.get_dir()) / "clean-fid" / INCEPTION_FILE).exists()
        there = self._config.inception_weights or cached
        return Load(disk=_INCEPTION_BYTES, download=0 if there else _INCEPTION_BYTES)

    def train_autoencoder(self, wildcards: Any) -> Load:
        name = wildcards.autoencoder
        images = self._config.autoencoders[name].budget_images
        for dataset in self._config.latent_shapes(name):
            flops = 3 * sum(work.flops for work in self._autoencoder(dataset, images))
            return Load((Work("train", images, flops),))
        return Load()

    def encode_latents(self, wildcards: Any) -> Load:
        dataset = self._config.dataset(wildcards.dataset)
        views = 2 if dataset.horizontal_flips else 1
        parts = views * (2 if dataset.source.posterior == "sample" else 1)
        count = self._image_count(wildcards.dataset)
        encoding, _ = self._autoencoder(wildcards.dataset, count * views)
        return Load((encoding,), disk=count * math.prod(dataset.shape) * 2 * parts)

    def train_model(self, wildcards: Any) -> Load:
        settings = self._config.run_settings(self._look.run(wildcards), int(wildcards.seed))
        _, parameters = network_size(settings.network, settings.shape)
        # The last snapshot and the model are one file.
        return Load((_training(settings),), disk=4 * parameters * settings.snapshots)

    def evaluate_run(self, wildcards: Any) -> Load:
        return self._evaluation(wildcards, None)

    def sample_run(self, wildcards: Any) -> Load:
        own = self._config.comparison(wildcards.comparison).sampling
        return self._evaluation(wildcards, own)

    def search_grid(self, wildcards: Any) -> Load:
        search, steps = self._config.grid_search, int(wildcards.steps)
        seen = 2 * search.noises * search.knots
        if wildcards.grid == "evolved":
            seen = search.population * search.rounds * search.images * steps
        return Load((self._sampling(self._look.run(wildcards), seen),))

    def _evaluation(self, wildcards: Any, own: OwnSampling | None) -> Load:
        run = self._look.run(wildcards)
        config, sampling = self._config, self._config.sampling(run, own)
        snapshots = config.run_settings(run, int(wildcards.seed)).snapshots
        each = [(*key, (snapshots - 1) * sets) for *key, sets in sampling.sets(last=False)]
        last = sampling.sets(last=True)
        seen = sum(
            sampling.n_samples * sets * _evaluations(run, sampling.samplers[sampler], steps)
            for sampler, steps, sets in each + last
        )
        few, many = (sum(sets for *_, sets in some) for some in (each, last))
        images = sampling.n_samples * (few + many)
        works = [self._sampling(run, seen)]
        pixels = config.pixels(run.dataset)
        if pixels != run.dataset:
            works.append(self._autoencoder(run.dataset, images)[1])
        if "held_out" in config.parts(run.dataset):
            compared = min(sampling.n_samples, COMPARED) * many + HELD_OUT
            works.append(self._neighbours(run.dataset, compared))
        large = _large(config.dataset(run.dataset).features)
        grid = min(GRID_IMAGES, sampling.n_samples) * math.prod(config.dataset(pixels).shape)
        return Load(
            (*works, *[_inception(images)] * large),
            seconds=large * (few * _FRECHET_SECONDS + many * _METRICS_SECONDS),
            disk=grid * len(last),
        )

    def compute_reference(self, wildcards: Any) -> Load:
        count = self._image_count(wildcards.dataset, wildcards.part)
        large = _large([wildcards.extractor])
        drawn = _FLOOR_SPLITS * (self._look.images_of_runs(wildcards) or 0)
        parts = set(self._config.parts(wildcards.dataset)) - {wildcards.part}
        others = sum(min(self._image_count(wildcards.dataset, part), drawn) for part in parts)
        stored = 4 * min(count, KEPT_FEATURES) + 8 * _INCEPTION_FEATURES
        return Load(
            (_inception(count + others),) * large,
            seconds=large * _FLOOR_SPLITS * _METRICS_SECONDS,
            disk=large * stored * _INCEPTION_FEATURES,
        )

    def compare_held_out(self, wildcards: Any) -> Load:
        return Load((self._neighbours(wildcards.dataset, HELD_OUT),))

    def _neighbours(self, dataset: str, images: int) -> Work:
        """Return the search for the training and held-out images nearest to so many images."""
        channels, height, width = self._config.dataset(self._config.pixels(dataset)).shape
        pixels = channels * min(height, SIDE) * min(width, SIDE)
        parts = self._config.parts(dataset)
        searched = sum(min(self._image_count(dataset, part), SEARCHED) for part in parts)
        return Work("evaluate", images, 2 * searched * pixels)

    def measure_reconstruction(self, wildcards: Any) -> Load:
        count, large = self._image_count(wildcards.dataset), _large([wildcards.extractor])
        _, decoding = self._autoencoder(wildcards.dataset, count)
        return Load((decoding, *[_inception(count)] * large), seconds=large * _METRICS_SECONDS)

    def fit_potentials(self, wildcards: Any) -> Load:
        dataset = self._config.dataset(wildcards.dataset)
        fit = dataset.potentials or self._config.potentials
        flops = 2 * self._image_count(wildcards.dataset) * math.prod(dataset.shape)
        return Load((Work("evaluate", fit.steps * fit.batch_size, flops),))

    def make_pairs(self, wildcards: Any) -> Load:
        teacher, how = self._look.teacher(wildcards), self._look.pairs_settings(wildcards)
        stored = (2 + how["states"]) * math.prod(self._config.dataset(wildcards.dataset).shape)
        seen = how["count"] * _evaluations(teacher, Pick(**how["sampler"]), how["steps"])
        return Load((self._sampling(teacher, seen),), disk=4 * how["count"] * stored)

    def fetch_pipeline(self, wildcards: Any) -> Load:
        local = os.path.isdir(self._look.pipeline_published(wildcards)["name"])
        return Load(disk=_PIPELINE_BYTES, download=0 if local else _PIPELINE_BYTES)

    def make_pipeline_pairs(self, wildcards: Any) -> Load:
        look, shape = self._look, self._look.pair_shape(wildcards.dataset)
        how, small = look.pipeline_settings(wildcards), self._config.scale is not None
        # With guidance, the network sees each image with its prompt and without.
        seen = how["count"] * how["steps"] * (2 if how["guidance_scale"] > 1 else 1)
        flops = pipeline_flops(Path(look.pipeline(wildcards)), shape, small)
        return Load((Work("evaluate", seen, flops),), disk=4 * how["count"] * 2 * math.prod(shape))

    def measure_matching_share(self, wildcards: Any) -> Load:
        """Return the training steps; what matching takes beside them is small, mostly."""
        share, run = self._config.matching_share, self._look.timed_run(wildcards)
        steps = 2 * share.steps * (1 + share.rounds * (1 + len(share.match_sizes)))
        return Load((_training(self._config.run_settings(run, run.seeds[0]), steps),))

    def draw_pairs(self, wildcards: Any) -> Load:
        """Return the generation of a dataset's pairs, or the storing of so many samples."""
        pairs = self._look.noise_sample_pairs(wildcards.dataset)
        count, models = pairs.draws * pairs.count, len(self._look.draw_runs(wildcards))
        runs = self._look.generating_runs(wildcards.dataset)[:1] * models
        works = [self._sampling(run, count * _ADAPTIVE_EVALUATIONS) for run in runs]
        shape = self._look.pair_shape(wildcards.dataset)
        return Load(tuple(works), disk=4 * count * max(1, models) * math.prod(shape))

    def measure_loss_over_time(self, wildcards: Any) -> Load:
        pairs = self._look.noise_sample_pairs(wildcards.dataset)
        images = pairs.count * (_ADAPTIVE_EVALUATIONS + pairs.time_bins * _KINDS_OF_NOISE)
        runs = self._look.generating_runs(wildcards.dataset)
        return Load(tuple(self._sampling(run, images) for run in runs))

    def measure_matching_cost(self, wildcards: Any) -> Load:
        grid = self._config.matching_cost
        cells = len(grid.match_sizes) * len(grid.dimensions) * len(grid.batch_sizes)
        return Load(seconds=cells * _CELL_SECONDS)

    def _published_bytes(self, dataset: str, file: str) -> int:
        kind = self._config.dataset(dataset).source.kind
        return _PUBLISHED_BYTES.get(file, _PUBLISHED_BYTES.get(f"{kind}/{file}", 0))

    def _image_count(self, dataset: str, part: Part = "training") -> int:
        """Return how many images a part of a dataset has; 0 if only its files can tell."""
        name = self._config.pixels(dataset)
        meta = Path(self._look.results) / FOLDERS[part] / name / "meta.json"
        if meta.exists():
            return read_model(meta, _Store).count
        if self._look.has_standin(name):
            return self._config.scales[self._config.scale].images
        source = self._config.dataset(name).source
        category = getattr(source, "category", "")
        published = SOURCES[source.kind].images or LSUN_IMAGES.get(category, 0)
        bounds = (getattr(source, "count", None), getattr(source, "at_most", None), published)
        count = min(filter(None, bounds), default=0)
        held_out = self._config.dataset(name).held_out
        if held_out is None:
            return count
        apart = held_out.beyond or round((held_out.share or 0) * count)
        if held_out.published:
            apart = _TEST_IMAGES
        return apart if part == "held_out" else count - round((held_out.share or 0) * count)

    def _sampling(self, run: Run, images: int) -> Work:
        settings = self._config.run_settings(run, run.seeds[0])
        flops, _ = network_size(settings.network, settings.shape)
        return Work("evaluate", images, flops)

    def _autoencoder(self, dataset: str, images: int) -> tuple[Work, Work]:
        """Return encoding and decoding of so many images."""
        name = self._config.dataset(dataset).source.autoencoder
        standin = self._config.scale is not None and name in self._look.published_autoencoders
        settings = None if standin else self._config.autoencoders[name]
        shapes = self._config.latent_shapes(name)[dataset]
        folder = Path(self._look.results) / "autoencoders" / name
        encoding, decoding = autoencoder_flops(settings, shapes, folder)
        return Work("evaluate", images, encoding), Work("evaluate", images, decoding)


# Rules with a line of their own, in this order, and those that only name others' results.
_LARGE = [
    "make_smoke_dataset",
    "make_smoke_autoencoder",
    "make_smoke_inception",
    "make_smoke_pipeline",
    "train_classifier",
    *(rule for rule in vars(_Loads) if not rule.startswith("_")),
]


def _evaluations(run: Run, solver: Pick, steps: int) -> int:
    """Return how often a network is evaluated for a sample."""
    return evaluations(run.process, solver, steps) or _ADAPTIVE_EVALUATIONS


def _training(settings: RunSettings, steps: int | None = None) -> Work:
    """Return so many training steps; without a number, all."""
    flops, _ = network_size(settings.network, settings.shape)
    return Work("train", (steps or settings.steps) * settings.batch_size, 3 * flops)


def _large(extractors: Iterable[str]) -> int:
    """Return how many extractors are Inception; the others are too small to matter."""
    return sum(EXTRACTORS[name].fid for name in extractors)


def _inception(images: int) -> Work:
    return Work("evaluate", images, _INCEPTION_FLOPS)


def autoencoder_flops(
    settings: TrainedAutoencoder | PretrainedAutoencoder | None,
    shapes: tuple[Shape, Shape],
    folder: Path,
) -> tuple[int, int]:
    """Return the FLOPs of encoding an image and of decoding its latents.

    Parameters are those of `autoencoder_skeleton`.
    """
    codec = autoencoder_skeleton(settings, shapes, folder)
    images, latents = (torch.empty(1, *shape, device="meta") for shape in shapes)
    with FlopCounterMode(display=False) as encoding:
        codec.encode(images)
    with FlopCounterMode(display=False) as decoding:
        codec.decode(latents)
    return encoding.get_total_flops(), decoding.get_total_flops()


def pipeline_flops(folder: Path, shape: Shape, small: bool) -> int:
    """Return the FLOPs of a pipeline's network for one sample.

    Parameters are those of `network_skeleton`.
    """
    network = network_skeleton(folder, shape, small)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        text = torch.empty(1, _PROMPT_TOKENS, network.config["cross_attention_dim"])
        network(torch.empty(1, *shape), torch.empty(1), text)
    return counter.get_total_flops()


# How long it takes.


class Rates:
    """How fast a device works: as in the finished training whose network is nearest in size.

    If there is none, at the assumed share of the device's peak.

    Parameters
    ----------
    device
        Its name.
    measured
        Of finished trainings: operations an image, and FLOP/s of one device.
    """

    def __init__(self, device: str, measured: list[tuple[float, float]]) -> None:
        self.device = device
        self._measured = measured
        known = (name for name in PEAKS if device.startswith(name))
        peaks = PEAKS[next(known, DEFAULT_GPU)]
        self._assumed = [_CPU_FLOPS] * 2 if device == CPU else [SHARE_OF_PEAK * p for p in peaks]

    def seconds(self, work: Work) -> float:
        """Return how long some work takes on one device."""
        training, evaluation = self._assumed
        rate = training if work.kind == "train" else evaluation
        if self._measured:
            size = work.flops * (1 if work.kind == "train" else 3)
            nearest = min(self._measured, key=lambda m: abs(math.log(m[0] / size)))
            rate *= nearest[1] / training
        return work.images * work.flops / rate

    @property
    def basis(self) -> str:
        """What the seconds rest on."""
        if self._measured:
            return (
                f"{self.device}: {len(self._measured)} finished trainings on it, of which that of "
                "the network nearest in size"
            )
        rates = " and ".join(f"{rate / 1e12:.3g}" for rate in self._assumed)
        return (
            f"{self.device}, not measured: {rates} TFLOP/s assumed in training and evaluation; "
            "once a training is finished, at its speed"
        )


class _Store(BaseModel):
    count: int


class _Hardware(BaseModel):
    device: str


class _Finished(BaseModel):
    settings: RunSettings
    hardware: _Hardware
    seconds: PositiveFloat
    processes: PositiveInt


def _measured(results: Path) -> dict[str, list[tuple[float, float]]]:
    """Return what finished trainings tell of devices, as for `Rates`."""
    found = defaultdict(list)
    for path in sorted(results.glob("runs/*/*/*/run.json")):
        run = read_model(path, _Finished)
        work = _training(run.settings, run.settings.steps)
        device = run.hardware.device
        rate = work.images * work.flops / run.seconds / run.processes
        found[CPU if device == "cpu" else device].append((work.flops, rate))
    return found


def _choose_gpu(asked: str | None, measured: Iterable[str], config: Config) -> str | None:
    """Return the name of the GPU to plan for; None where jobs that want one run on the CPU."""
    gpus = [name for name in measured if name != CPU]
    if asked is not None:
        found = [name for name in (*gpus, *PEAKS) if asked.lower() in name.lower()]
        if not found:
            raise InputError(f"GPU {asked!r}: expected one of {[*gpus, *PEAKS]}")
        return found[0]
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if config.scale is not None:
        return None
    return gpus[0] if gpus else DEFAULT_GPU


# For people.


def _subject(job: Job) -> str:
    names = (job.wildcards.get(key) for key in ("dataset", "comparison", "autoencoder", "subject"))
    return next(filter(None, names), "").removeprefix("_")


def _readable_hours(hours: float) -> str:
    return "–" if hours == 0 else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _readable_bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "–" if count == 0 else f"{count / 1e3:.3g} kB"
