"""What a target costs before it is made: its jobs, hours of GPUs and CPUs, disk, downloads.

Snakemake says which jobs there are. What each of them computes follows from the configuration:
images, and floating-point operations an image, counted on networks without weights. How long that
takes follows from a calibration on this machine or, without one, from a device's published peak.
"""

import math
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pandas as pd
import torch
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dansm.catalogue import EXTRACTORS, SOLVERS, SOURCES
from dansm.config import (
    INCEPTION_FILE,
    Config,
    Network,
    PretrainedAutoencoder,
    Run,
    RunSettings,
    Shape,
    TrainedAutoencoder,
)
from dansm.errors import InputError
from dansm.io.files import read_json, write_json
from dansm.metrics.evaluation import GRID_IMAGES
from dansm.metrics.statistics import KEPT_FEATURES
from dansm.models.autoencoders import autoencoder_skeleton
from dansm.models.networks import make_network, tune_network
from dansm.processes.objective import make_objective
from dansm.processes.samplers import make_sampler
from dansm.workflow.run_lookups import RunLookups

CALIBRATION = Path("results/calibration.json")
# Peak FLOP/s in half precision and in single precision as convolutions use it (TensorFloat-32 where
# there is), as published, without sparsity.
PEAKS = {
    "NVIDIA A100": (312e12, 156e12),
    "NVIDIA H100": (989e12, 495e12),
    "NVIDIA H200": (989e12, 495e12),
    "NVIDIA L40S": (362e12, 183e12),
    "NVIDIA GeForce RTX 4090": (165e12, 83e12),
    "Tesla V100": (125e12, 16e12),
}
DEFAULT_GPU = "NVIDIA A100"
# Published trainings of such networks reach between 7 % (DDPM++, 8 V100) and 14 % (ADM, 32 A100).
SHARE_OF_PEAK = 0.1
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
_LSUN_IMAGES = {"bedroom_train": 3_033_042, "church_outdoor_train": 126_227}
_PUBLISHED_BYTES = {
    "cifar-10-python.tar.gz": 170_498_071,
    "mnist/train-images-idx3-ubyte.gz": 9_912_422,
    "mnist/train-labels-idx1-ubyte.gz": 28_881,
    "fashion_mnist/train-images-idx3-ubyte.gz": 26_421_880,
    "fashion_mnist/train-labels-idx1-ubyte.gz": 29_515,
    "bedroom_train_lmdb.zip": 45_900_000_000,
    "church_outdoor_train_lmdb.zip": 2_450_000_000,
}
_AUTOENCODER_BYTES, _INCEPTION_BYTES = 334_643_276, 95_628_359


class Job(NamedTuple):
    """One job that Snakemake would run."""

    rule: str
    wildcards: dict[str, str]
    threads: int
    gpus: int


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
    basis: tuple[str, ...]

    def text(self, every_rule: bool = False) -> str:
        """Return the table with its totals, for people.

        Rules that make tables and figures in seconds share a line, unless ``every_rule``.
        """
        rows = self.jobs
        if not every_rule:
            small = ~rows["rule"].isin([*_LOADS, *_TARGETS])
            rows = rows.assign(rule=rows["rule"].mask(small, "tables, figures"))
            rows = rows.groupby(["rule", "subject"], sort=False, as_index=False).sum()
        sums = self.jobs.drop(columns=["rule", "subject"]).sum()
        total = {"rule": "total", "subject": "", **sums}
        shown = pd.concat([rows, pd.DataFrame([total]).astype({"jobs": int})], ignore_index=True)
        for column in ("gpu_hours", "cpu_hours"):
            shown[column] = shown[column].map(_readable_hours)
        for column in ("disk", "download"):
            shown[column] = shown[column].map(_readable_bytes)
        lines = shown.to_string(index=False).splitlines()
        ruled = [*lines[:-1], "-" * len(lines[0]), lines[-1]]
        return "\n".join([*ruled, "", "The estimate rests on:", *(f"- {b}" for b in self.basis)])


def make_plan(
    config: Config, jobs: Sequence[Job], calibration: Path = CALIBRATION, gpu: str | None = None
) -> Plan:
    """Estimate what jobs cost.

    Parameters
    ----------
    calibration
        File that `calibrate` wrote; it need not exist.
    gpu
        One of `PEAKS` or of the calibrated GPUs, or the beginning of its name; None takes this
        machine's, or a calibrated one, or `DEFAULT_GPU`.

    Raises
    ------
    InputError
        If the calibration cannot be read, or nothing is known of that GPU.
    """
    look, measured = RunLookups(config), _read_calibration(calibration)
    cpu = on_gpu = Rates(CPU, measured.get(CPU, []))
    if any(job.gpus for job in jobs):
        name = _choose_gpu(gpu, list(measured), config)
        on_gpu = Rates(name, measured.get(name, [])) if name else cpu
    columns = ["jobs", "gpu_hours", "cpu_hours", "disk", "download"]
    rows: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        load = load_of(look, job)
        device, gpus = (on_gpu, job.gpus) if job.gpus and on_gpu is not cpu else (cpu, 0)
        started = 0.0 if job.rule in _TARGETS else _JOB_SECONDS
        seconds = started + load.seconds + load.disk / _DISK_BYTES_PER_SECOND
        working = sum(device.seconds(work) for work in load.work) / max(1, gpus)
        hours = (seconds + working) / 3600
        found = [1, hours * gpus, hours * job.threads, load.disk, load.download]
        before = rows.get((job.rule, _subject(job)), [0] * len(columns))
        rows[job.rule, _subject(job)] = [a + b for a, b in zip(before, found, strict=True)]
    order = [*_LOADS, *(rule for rule, _ in rows if rule not in {*_LOADS, *_TARGETS}), *_TARGETS]
    keys = sorted(rows, key=lambda key: (order.index(key[0]), key[1]))
    table = pd.DataFrame([[*k, *rows[k]] for k in keys], columns=["rule", "subject", *columns])
    basis = [line for device in dict.fromkeys((cpu, on_gpu)) for line in device.basis()]
    basis.append(f"a disk that writes {_DISK_BYTES_PER_SECOND / 1e6:.0f} MB/s")
    basis.append("hours are what jobs hold: their time, by the GPUs or threads that they ask for")
    basis.append("matching runs beside training and is taken to cost no time of its own")
    return Plan(table, tuple(basis))


def planned_jobs(
    targets: Sequence[str], scale: str | None = None, configfiles: Sequence[Path] = ()
) -> list[Job]:
    """Ask Snakemake which jobs the targets still need.

    Parameters
    ----------
    scale
        One of the configuration's scales.
    configfiles
        Configuration beside ``config/config.yaml``.

    Raises
    ------
    InputError
        If Snakemake refuses the targets, or its output is not understood.
    """
    settings = ["--config", f"scale={scale}"] if scale else []
    settings += ["--configfile", *map(str, configfiles)] if configfiles else []
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--nocolor", "--quiet", "host"]
    # So many cores that no rule's threads are cut down to this machine's.
    command += ["--cores", "1000", *settings, "--", *targets]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode != 0:
        raise InputError(
            f"snakemake --dry-run {' '.join(targets)}: expected a list of jobs, found\n"
            f"{done.stdout.strip()[-2000:]}"
        )
    return parse_jobs(done.stdout)


def parse_jobs(output: str) -> list[Job]:
    """Read the jobs from the output of a dry run.

    Raises
    ------
    InputError
        If they are not those that the output's own table counts.
    """
    jobs = []
    for block in re.split(r"^(?:local)?rule ", output, flags=re.MULTILINE)[1:]:
        rule, _, rest = block.partition(":")
        fields = dict(re.findall(r"^    (\w+): (.*)$", rest, flags=re.MULTILINE))
        wildcards = dict(re.findall(r"(\w+)=([^,]*)", fields.get("wildcards", "")))
        gpus = re.search(r"\bgpu=(\d+)|\bgres=gpu:(?:[^:,]+:)?(\d+)", fields.get("resources", ""))
        count = int(gpus[1] or gpus[2]) if gpus else 0
        jobs.append(Job(rule, wildcards, int(fields.get("threads", 1)), count))
    counted: dict[str, int] = {}
    if "Job stats:" in output:
        lines = output.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        counted = {rule: int(count) for rule, count in (line.split() for line in lines)}
        del counted["total"]
    found = dict(Counter(job.rule for job in jobs))
    if found != counted:
        raise InputError(f"snakemake's list of jobs: expected {counted}, found {found}")
    return jobs


# What a job does, by rule; of other rules it is nothing but their start.


def load_of(look: RunLookups, job: Job) -> Load:
    """Return what a job does."""
    make = _LOADS.get(job.rule, _nothing)
    return make(look, SimpleNamespace(**job.wildcards))


def _nothing(look: RunLookups, wildcards: Any) -> Load:
    return Load()


def _download_load(look: RunLookups, wildcards: Any) -> Load:
    file = look.published(wildcards.dataset)[wildcards.file]
    there = file.path.exists() or file.unpacked.exists()
    size = 0 if there else _published_bytes(look, wildcards.dataset, wildcards.file)
    return Load(disk=size, download=size)


def _published_bytes(look: RunLookups, dataset: str, file: str) -> int:
    kind = look.config.dataset(dataset).source.kind
    return _PUBLISHED_BYTES.get(file, _PUBLISHED_BYTES.get(f"{kind}/{file}", 0))


def _dataset_load(look: RunLookups, wildcards: Any) -> Load:
    name = wildcards.dataset
    shape, count = look.config.dataset(name).shape, _image_count(look, name)
    disk = count * math.prod(shape)
    # LSUN's zip, which stays, takes its size once more when it is unpacked.
    if not look.has_standin(name):
        packed = [f for f in look.published(name).items() if f[0].endswith(".zip")]
        missing = [file for file, found in packed if not found.unpacked.exists()]
        disk += sum(_published_bytes(look, name, file) for file in missing)
    return Load(seconds=count * shape[1] * shape[2] * _PIXEL_SECONDS, disk=disk)


def _fetch_load(look: RunLookups, wildcards: Any) -> Load:
    local = Path(look.config.autoencoders[wildcards.autoencoder].name).is_dir()
    return Load(disk=_AUTOENCODER_BYTES, download=0 if local else _AUTOENCODER_BYTES)


def _inception_load(look: RunLookups, wildcards: Any) -> Load:
    cached = (Path(torch.hub.get_dir()) / "clean-fid" / INCEPTION_FILE).exists()
    there = look.config.inception_weights or cached
    return Load(disk=_INCEPTION_BYTES, download=0 if there else _INCEPTION_BYTES)


def _encode_load(look: RunLookups, wildcards: Any) -> Load:
    dataset = look.config.dataset(wildcards.dataset)
    views = 2 if dataset.horizontal_flips else 1
    parts = views * (2 if dataset.source.posterior == "sample" else 1)
    count = _image_count(look, wildcards.dataset)
    encoding, _ = _autoencoder_work(look, wildcards.dataset, count * views)
    return Load((encoding,), disk=count * math.prod(dataset.shape) * 2 * parts)


def _train_autoencoder_load(look: RunLookups, wildcards: Any) -> Load:
    name = wildcards.autoencoder
    images = look.config.autoencoders[name].budget_images
    for dataset in look.config.latent_shapes(name):
        flops = 3 * sum(work.flops for work in _autoencoder_work(look, dataset, images))
        return Load((Work("train", images, flops),))
    return Load()


def _train_load(look: RunLookups, wildcards: Any) -> Load:
    settings = look.config.run_settings(look.run(wildcards), int(wildcards.seed))
    _, parameters = network_size(settings.network, settings.shape)
    work = _training(settings, settings.steps)
    # The last snapshot and the model are one file.
    return Load((work,), disk=4 * parameters * settings.snapshots)


def _evaluate_load(look: RunLookups, wildcards: Any) -> Load:
    run = look.run(wildcards)
    config, sampling = look.config, look.config.sampling(run)
    snapshots = config.run_settings(run, int(wildcards.seed)).snapshots
    each = [(*key, (snapshots - 1) * sets) for *key, sets in sampling.sets(last=False)]
    last = sampling.sets(last=True)
    seen = sum(
        sampling.n_samples * sets * _evaluations(run, sampling.samplers[sampler], steps)
        for sampler, steps, sets in each + last
    )
    few, many = (sum(sets for *_, sets in some) for some in (each, last))
    images = sampling.n_samples * (few + many)
    works = [_sampling(look, run, seen)]
    pixels = config.pixels(run.dataset)
    if pixels != run.dataset:
        works.append(_autoencoder_work(look, run.dataset, images)[1])
    large = _large(config.dataset(run.dataset).features)
    grid = min(GRID_IMAGES, sampling.n_samples) * math.prod(config.dataset(pixels).shape)
    return Load(
        (*works, *[_inception(images)] * large),
        seconds=large * (few * _FRECHET_SECONDS + many * _METRICS_SECONDS),
        disk=grid * len(last),
    )


def _reference_load(look: RunLookups, wildcards: Any) -> Load:
    count, large = _image_count(look, wildcards.dataset), _large([wildcards.extractor])
    stored = 4 * min(count, KEPT_FEATURES) + 8 * _INCEPTION_FEATURES
    return Load(
        (_inception(count),) * large,
        seconds=large * _FLOOR_SPLITS * _METRICS_SECONDS,
        disk=large * stored * _INCEPTION_FEATURES,
    )


def _reconstruction_load(look: RunLookups, wildcards: Any) -> Load:
    count, large = _image_count(look, wildcards.dataset), _large([wildcards.extractor])
    _, decoding = _autoencoder_work(look, wildcards.dataset, count)
    return Load((decoding, *[_inception(count)] * large), seconds=large * _METRICS_SECONDS)


def _potentials_load(look: RunLookups, wildcards: Any) -> Load:
    fit, shape = look.config.potentials, look.config.dataset(wildcards.dataset).shape
    flops = 2 * _image_count(look, wildcards.dataset) * math.prod(shape)
    return Load((Work("evaluate", fit.steps * fit.batch_size, flops),))


def _teacher_load(look: RunLookups, wildcards: Any) -> Load:
    teacher, how = look.teacher(wildcards), look.pairs_settings(wildcards)
    solver = next(
        look.config.samplers[run.coupling.options["sampler"]]
        for run in look.config.runs_of(wildcards.dataset)
        if run.teacher == teacher.name
    )
    stored = (2 + how["states"]) * math.prod(look.config.dataset(wildcards.dataset).shape)
    seen = how["count"] * _evaluations(teacher, solver, how["steps"])
    return Load((_sampling(look, teacher, seen),), disk=4 * how["count"] * stored)


def _share_load(look: RunLookups, wildcards: Any) -> Load:
    """Return the training steps; what matching takes beside them is small but for the largest."""
    share, run = look.config.matching_share, look.timed_run(wildcards)
    steps = 2 * share.steps * (1 + share.rounds * (1 + len(share.match_sizes)))
    return Load((_training(look.config.run_settings(run, run.seeds[0]), steps),))


def _pairs_load(look: RunLookups, wildcards: Any) -> Load:
    """Return the generation of a dataset's pairs, or the storing of so many samples."""
    pairs, runs = (
        look.noise_sample_pairs(wildcards.dataset),
        look.generating_runs(wildcards.dataset),
    )
    count = pairs.draws * pairs.count
    works = [_sampling(look, run, count * _ADAPTIVE_EVALUATIONS) for run in runs[:1]]
    shape = look.config.dataset(wildcards.dataset).shape
    return Load(tuple(works), disk=4 * count * math.prod(shape))


def _loss_load(look: RunLookups, wildcards: Any) -> Load:
    pairs = look.noise_sample_pairs(wildcards.dataset)
    images = pairs.count * (_ADAPTIVE_EVALUATIONS + pairs.time_bins * _KINDS_OF_NOISE)
    runs = look.generating_runs(wildcards.dataset)
    return Load(tuple(_sampling(look, run, images) for run in runs))


def _matching_cost_load(look: RunLookups, wildcards: Any) -> Load:
    grid = look.config.matching_cost
    cells = len(grid.match_sizes) * len(grid.dimensions) * len(grid.batch_sizes)
    return Load(seconds=cells * _CELL_SECONDS)


# Rules that only name others' results.
_TARGETS = ("stage_data", "demo", "all")
_LOADS: dict[str, Callable[[RunLookups, Any], Load]] = {
    "download": _download_load,
    "make_smoke_dataset": _nothing,
    "build_dataset": _dataset_load,
    "fetch_autoencoder": _fetch_load,
    "fetch_inception": _inception_load,
    "make_smoke_autoencoder": _nothing,
    "make_smoke_inception": _nothing,
    "train_autoencoder": _train_autoencoder_load,
    "encode_latents": _encode_load,
    "train_classifier": _nothing,
    "train_model": _train_load,
    "evaluate_run": _evaluate_load,
    "compute_reference": _reference_load,
    "measure_reconstruction": _reconstruction_load,
    "fit_potentials": _potentials_load,
    "make_pairs": _teacher_load,
    "measure_matching_share": _share_load,
    "draw_pairs": _pairs_load,
    "measure_loss_over_time": _loss_load,
    "measure_matching_cost": _matching_cost_load,
}


def _evaluations(run: Run, solver: Any, steps: int) -> int:
    """Return how often a network is evaluated for a sample."""
    if SOLVERS[solver.name].adaptive:
        return _ADAPTIVE_EVALUATIONS
    sampler = make_sampler(run.process, solver)
    return sampler.sample(lambda points, times: points, torch.zeros(1, 1), steps).nfe


def _image_count(look: RunLookups, dataset: str) -> int:
    """Return how many images a dataset has; 0 if only its files can tell."""
    name = look.config.pixels(dataset)
    meta = Path(look.results) / "data" / name / "meta.json"
    if meta.exists():
        return read_json(meta)["count"]
    if look.has_standin(name):
        return look.config.scales[look.config.scale].images
    source = look.config.dataset(name).source
    published = SOURCES[source.kind].images or _LSUN_IMAGES.get(getattr(source, "category", ""), 0)
    return getattr(source, "count", None) or published


def _training(settings: RunSettings, steps: int) -> Work:
    flops, _ = network_size(settings.network, settings.shape)
    return Work("train", steps * settings.batch_size, 3 * flops)


def _sampling(look: RunLookups, run: Run, images: int) -> Work:
    settings = look.config.run_settings(run, run.seeds[0])
    flops, _ = network_size(settings.network, settings.shape)
    return Work("evaluate", images, flops)


def _autoencoder_work(look: RunLookups, dataset: str, images: int) -> tuple[Work, Work]:
    """Return encoding and decoding of so many images."""
    name = look.config.dataset(dataset).source.autoencoder
    standin = look.config.scale is not None and name in look.published_autoencoders
    settings = None if standin else look.config.autoencoders[name]
    shapes = look.config.latent_shapes(name)[dataset]
    folder = Path(look.results) / "autoencoders" / name
    encoding, decoding = autoencoder_flops(settings, shapes, folder)
    return Work("evaluate", images, encoding), Work("evaluate", images, decoding)


def _large(extractors: Iterable[str]) -> int:
    """Return how many extractors are Inception; the others are too small to matter."""
    return sum(EXTRACTORS[name].fid for name in extractors)


def _inception(images: int) -> Work:
    return Work("evaluate", images, _INCEPTION_FLOPS)


@cache
def _network_size(network: str, shape: Shape) -> tuple[int, int]:
    with torch.device("meta"), torch.no_grad():
        model = make_network(Network.model_validate_json(network), shape)
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *shape), torch.empty(1))
    return counter.get_total_flops(), sum(p.numel() for p in model.parameters())


def network_size(network: Network, shape: Shape) -> tuple[int, int]:
    """Return the FLOPs of a network's forward pass for one sample, and its parameters."""
    return _network_size(network.model_dump_json(), shape)


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


# How long it takes.


class Rates:
    """How fast a device works: as the network that was measured on it and is nearest in size.

    If there is none, at the assumed share of the device's peak.

    Parameters
    ----------
    device
        Its name.
    measured
        What `calibrate` found on it: ``kind`` as in `Work`, ``flops`` an image,
        ``images_per_second``.
    """

    def __init__(self, device: str, measured: list[dict[str, Any]]) -> None:
        self.device = device
        self._measured = measured
        self._asked: set[str] = set()

    def seconds(self, work: Work) -> float:
        """Return how long some work takes on one device."""
        alike = [m for m in self._measured if m["kind"] == work.kind]
        self._asked.add("measured" if alike else "assumed")
        if not alike:
            return work.images * work.flops / self._assumed(work.kind)
        nearest = min(alike, key=lambda m: abs(math.log(m["flops"] / work.flops)))
        return work.images * work.flops / (nearest["flops"] * nearest["images_per_second"])

    def basis(self) -> list[str]:
        """Return what the seconds asked for so far rest on."""
        lines = []
        if "measured" in self._asked:
            lines.append(
                f"{self.device}: networks at the rate of the nearest in size measured on it"
            )
        if "assumed" in self._asked:
            rates = (f"{self._assumed(kind) / 1e12:.3g}" for kind in ("train", "evaluate"))
            lines.append(
                f"{self.device}, not measured: {' and '.join(rates)} TFLOP/s assumed in training "
                "and evaluation; `dansm plan --calibrate` on such a machine measures it"
            )
        return lines

    def _assumed(self, kind: str) -> float:
        if self.device == CPU:
            return _CPU_FLOPS
        known = (name for name in PEAKS if self.device.startswith(name))
        half, single = PEAKS[next(known, DEFAULT_GPU)]
        return SHARE_OF_PEAK * (half if kind == "train" else single)


def _choose_gpu(asked: str | None, calibrated: list[str], config: Config) -> str | None:
    """Return the name of the GPU to plan for; None where jobs that want one run on the CPU."""
    gpus = [name for name in calibrated if name != CPU]
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


def _read_calibration(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return what was measured, by device."""
    content = read_json(path) if path.exists() else {"devices": {}}
    if not isinstance(content, dict) or not isinstance(content.get("devices"), dict):
        raise InputError(f"{path}: expected a calibration, found none; delete it to go on without")
    return content["devices"]


def calibrate(config: Config, path: Path = CALIBRATION, seconds: float = 2.0) -> None:
    """Time training and sampling of every network of the configuration.

    Networks of recipes that ask for a GPU are timed on this machine's, if it has one; without one
    they are left out, except at a reduced scale. Earlier results of other devices and networks are
    kept.

    Parameters
    ----------
    path
        File to write.
    seconds
        Spent on each measurement, about.
    """
    devices, found = _read_calibration(path), defaultdict(list)
    networks: dict[tuple[int, bool], tuple[Run, RunSettings]] = {}
    for run in config.runs:
        settings = config.run_settings(run, run.seeds[0])
        flops, _ = network_size(settings.network, settings.shape)
        gpu = config.recipes[run.recipe].hardware.gpu > 0
        networks.setdefault((flops, gpu), (run, settings))
    for (_, gpu), (run, settings) in networks.items():
        device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
        if gpu and device == "cpu" and config.scale is None:
            continue
        if device == "cpu":
            torch.set_num_threads(config.recipes[run.recipe].hardware.threads)
        name = torch.cuda.get_device_name() if device == "cuda" else CPU
        batch = config.sampling(run).batch_size
        found[name] += _measure_network(settings, batch, device, seconds)
    for device, measured in found.items():
        sizes = {(m["kind"], m["flops"]) for m in measured}
        kept = [m for m in devices.get(device, []) if (m["kind"], m["flops"]) not in sizes]
        devices[device] = kept + measured
    write_json(path, {"devices": devices})


def _measure_network(
    settings: RunSettings, sampling_batch: int, device: str, seconds: float
) -> list[dict[str, Any]]:
    flops, _ = network_size(settings.network, settings.shape)
    network = make_network(settings.network, settings.shape, seed=0).to(device)
    tune_network(network, channels_last=settings.channels_last, compiled=settings.compile)
    objective = make_objective(settings.process, settings.times, settings.loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    average = EMAModel(network.parameters(), decay=0.999, foreach=True)
    half = device == "cuda" and settings.mixed_precision == "bf16"
    stream = torch.Generator().manual_seed(0)
    # On a CPU a step takes no longer than a measurement should.
    most = math.inf if device == "cuda" else max(1, int(_CPU_FLOPS / (3 * flops)))
    batch = int(min(settings.batch_size, most))
    samples = torch.randn(batch, *settings.shape, device=device)

    def train() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            loss = objective.loss(lambda x, t: network(x, t).sample, samples, samples, stream)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    trained = batch * _per_second(train, device, seconds)
    batch = int(min(sampling_batch, most))
    noise = torch.randn(batch, *settings.shape, device=device)
    sampled_from = make_network(settings.network, settings.shape).to(device).eval()

    def evaluate() -> None:
        with torch.inference_mode():
            sampled_from(noise, torch.zeros(batch, device=device))

    sampled = batch * _per_second(evaluate, device, seconds)
    return [
        {"kind": "train", "flops": 3 * flops, "images_per_second": trained},
        {"kind": "evaluate", "flops": flops, "images_per_second": sampled},
    ]


def _per_second(step: Callable[[], Any], device: str, seconds: float) -> float:
    """Return how many steps are done in a second."""

    def timed(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed(1)  # the first one prepares what the others use
    count = max(1, int(seconds / timed(1)))
    return count / timed(count)


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
