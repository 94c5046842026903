"""What a target costs before it is made: its jobs, hours of GPUs and CPUs, disk, downloads.

Snakemake says which jobs there are. What each of them computes follows from the configuration:
images, and floating-point operations an image, counted on networks without weights. How long that
takes follows from a calibration on this machine or, without one, from a device's published peak.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dansm.config import (
    INCEPTION_FILE,
    Config,
    Experiment,
    LatentSource,
    LsunSource,
    Network,
    PretrainedAutoencoder,
    RunSettings,
    Sampling,
    Shape,
    TrainedAutoencoder,
)
from dansm.data.published import files_are_there, published_files
from dansm.errors import InputError
from dansm.io.files import read_json, write_json
from dansm.metrics.evaluation import GRID_IMAGES
from dansm.metrics.statistics import KEPT_FEATURES
from dansm.models.autoencoders import Codec, autoencoder_skeleton
from dansm.models.networks import make_network, tune_network
from dansm.processes import PROCESSES

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
# of a job beside its work (a notebook is no more), to compare samples with the real images, to
# decode a pixel, to time all methods of matching in a cell of the grid.
_CPU_FLOPS = 50e9
_JOB_SECONDS = 6.0
# The Fréchet distance alone, and all metrics, of Inception's features; other features are few.
_FRECHET_SECONDS = 4.0
_METRICS_SECONDS = 40.0
_PIXEL_SECONDS = 4e-8
_CELL_SECONDS = 6.0
_DISK_BYTES_PER_SECOND = 300e6
_INCEPTION_FLOPS = 11.4e9
_INCEPTION_FEATURES = 2048
_FLOOR_SPLITS = 5
_AUTOENCODER_BATCH = 64
_DISK_BLOCKS = 256
# An adaptive sampler evaluates the network as often as it must; about so often.
_RK45_EVALUATIONS = 100
_KINDS_OF_NOISE = 3
_TSNE_SECONDS = 0.1
_PUBLISHED_IMAGES = {
    "sklearn_digits": 1797,
    "cifar10": 50_000,
    "mnist": 60_000,
    "fashion_mnist": 60_000,
    "imagenet64": 1_281_167,
    "bedroom_train": 3_033_042,
    "church_outdoor_train": 126_227,
}
_PUBLISHED_BYTES = {
    "cifar10/cifar-10-python.tar.gz": 170_498_071,
    "mnist/train-images-idx3-ubyte.gz": 9_912_422,
    "mnist/train-labels-idx1-ubyte.gz": 28_881,
    "fashion_mnist/train-images-idx3-ubyte.gz": 26_421_880,
    "fashion_mnist/train-labels-idx1-ubyte.gz": 29_515,
    "lsun/bedroom_train_lmdb.zip": 45_900_000_000,
    "lsun/church_outdoor_train_lmdb.zip": 2_450_000_000,
    "autoencoder": 334_643_276,
    "inception": 95_628_359,
}


class Job(NamedTuple):
    """One job that Snakemake would run."""

    rule: str
    wildcards: dict[str, str]
    threads: int
    gpus: int


class Work(NamedTuple):
    """Images that a network sees: ``kind`` is ``train`` or ``evaluate``, ``name`` says of which."""

    kind: str
    name: str
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
    """A table of jobs by rule and dataset, and what its figures rest on."""

    jobs: pd.DataFrame
    basis: tuple[str, ...]

    def text(self, every_rule: bool = False) -> str:
        """Return the table with its totals, for people.

        Rules that make tables and figures in seconds share a line, unless ``every_rule``.
        """
        rows = self.jobs
        if not every_rule:
            rows = rows.assign(
                rule=rows["rule"].where(~rows["rule"].isin(_RESULTS), "tables, figures")
            )
            rows = rows.groupby(["rule", "dataset"], sort=False, as_index=False).sum()
        shown = pd.concat([rows, total_row(self.jobs)], ignore_index=True)
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
    measured = _read_calibration(calibration)
    disk = measured.get("disk_bytes_per_second", _DISK_BYTES_PER_SECOND)
    rates = {CPU: Rates(CPU, measured["devices"].get(CPU, []))}
    if any(job.gpus for job in jobs):
        name = _choose_gpu(gpu, list(measured["devices"]), config)
        rates["GPU"] = Rates(name, measured["devices"].get(name, [])) if name else rates[CPU]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    unknown: Counter[str] = Counter()
    for job in jobs:
        load = load_of(config, job)
        if load is None:
            unknown[job.rule] += 1
            load = Load()
        on_gpu = job.gpus > 0 and rates["GPU"] is not rates[CPU]
        device = rates["GPU" if on_gpu else CPU]
        seconds = 0.0 if job.rule in _TARGETS else _JOB_SECONDS + load.seconds + load.disk / disk
        working = sum(device.seconds(work) for work in load.work)
        hours = (seconds + (working / job.gpus if on_gpu else working)) / 3600
        key = (job.rule, _subject(job))
        row = rows.setdefault(
            key, {"jobs": 0, "gpu_hours": 0.0, "cpu_hours": 0.0, "disk": 0.0, "download": 0.0}
        )
        row["jobs"] += 1
        row["gpu_hours"] += hours * job.gpus if on_gpu else 0
        row["cpu_hours"] += hours * job.threads
        row["disk"] += load.disk
        row["download"] += load.download
    order = [*_LOADS, *unknown]
    table = pd.DataFrame(
        [
            {"rule": rule, "dataset": subject, **rows[rule, subject]}
            for rule, subject in sorted(rows, key=lambda key: (order.index(key[0]), key[1]))
        ],
        columns=["rule", "dataset", "jobs", "gpu_hours", "cpu_hours", "disk", "download"],
    )
    basis = [line for device in dict.fromkeys(rates.values()) for line in device.basis()]
    how = "measured" if "disk_bytes_per_second" in measured else "assumed"
    basis.append(f"a disk that writes {disk / 1e6:.0f} MB/s ({how})")
    basis.append("hours are what jobs hold: their time, by the GPUs or threads that they ask for")
    basis.append("matching runs beside training and is taken to cost no time of its own")
    if unknown:
        names = ", ".join(f"{rule} ({count})" for rule, count in unknown.items())
        basis.append(f"not estimated but for their start: {names}")
    return Plan(table, tuple(basis))


def total_row(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return the row of totals of a plan's table."""
    sums = jobs[["jobs", "gpu_hours", "cpu_hours", "disk", "download"]].sum()
    return pd.DataFrame([{"rule": "total", "dataset": "", **sums}]).astype({"jobs": int})


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
    for block in re.split(r"^(?:local)?(?:rule|checkpoint) ", output, flags=re.MULTILINE)[1:]:
        rule, _, rest = block.partition(":")
        fields = dict(re.findall(r"^    (\w+): (.*)$", rest, flags=re.MULTILINE))
        wildcards = dict(re.findall(r"(\w+)=([^,]*)", fields.get("wildcards", "")))
        gpus = re.search(r"\bgpu=(\d+)|\bgres=gpu:(?:[^:,]+:)?(\d+)", fields.get("resources", ""))
        jobs.append(
            Job(
                rule,
                wildcards,
                int(fields.get("threads", 1)),
                int(gpus[1] or gpus[2]) if gpus else 0,
            )
        )
    counted: dict[str, int] = {}
    if "Job stats:" in output:
        lines = output.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        counted = {rule: int(count) for rule, count in (line.split() for line in lines)}
        del counted["total"]
    found = dict(Counter(job.rule for job in jobs))
    if found != counted:
        raise InputError(f"snakemake's list of jobs: expected {counted}, found {found}")
    return jobs


# What a job does, by rule.


def load_of(config: Config, job: Job) -> Load | None:
    """Return what a job does; None for a rule of which nothing is known."""
    make = _LOADS.get(job.rule)
    return None if make is None else make(config, job.wildcards)


def _dataset_load(config: Config, wildcards: dict[str, str]) -> Load:
    name = wildcards["dataset"]
    shape, count = config.datasets[name].shape, _image_count(config, name)
    return Load(
        seconds=count * shape[1] * shape[2] * _PIXEL_SECONDS,
        disk=count * math.prod(shape) + _unpacked_bytes(config, name),
    )


def _unpacked_bytes(config: Config, name: str) -> float:
    """Return what LSUN's zip, which stays, takes once more when it is unpacked."""
    source = config.scaled_source(name)
    if not isinstance(source, LsunSource) or _has_standin(config, name):
        return 0
    ((file, published),) = published_files(source).items()
    return 0 if published.unpacked.exists() else _PUBLISHED_BYTES.get(f"lsun/{file}", 0)


def _download_load(config: Config, wildcards: dict[str, str]) -> Load:
    source = config.scaled_source(wildcards["dataset"])
    file = published_files(source)[wildcards["file"]]
    there = file.path.exists() or file.unpacked.exists()
    size = 0 if there else _PUBLISHED_BYTES.get(f"{source.kind}/{wildcards['file']}", 0)
    return Load(disk=size, download=size)


def _fetch_load(config: Config, wildcards: dict[str, str]) -> Load:
    size = _PUBLISHED_BYTES["autoencoder"]
    local = Path(config.autoencoders[wildcards["autoencoder"]].name).is_dir()
    return Load(disk=size, download=0 if local else size)


def _inception_load(config: Config, wildcards: dict[str, str]) -> Load:
    size = _PUBLISHED_BYTES["inception"]
    cached = (Path(torch.hub.get_dir()) / "clean-fid" / INCEPTION_FILE).exists()
    return Load(disk=size, download=0 if config.inception_weights or cached else size)


def _encode_load(config: Config, wildcards: dict[str, str]) -> Load:
    dataset = config.datasets[wildcards["dataset"]]
    count = _image_count(config, wildcards["dataset"])
    views = 2 if dataset.horizontal_flips else 1
    parts = views * (2 if dataset.source.posterior == "sample" else 1)
    encoding, _ = _autoencoder_work(config, wildcards["dataset"], count * views)
    return Load((encoding,), disk=count * math.prod(dataset.shape) * 2 * parts)


def _train_autoencoder_load(config: Config, wildcards: dict[str, str]) -> Load:
    name = wildcards["autoencoder"]
    settings = config.scaled_autoencoder(name)
    dataset = next(iter(config.latent_shapes(name)), None)
    if dataset is None:
        return Load()
    both = _autoencoder_work(config, dataset, settings.budget_images)
    flops = 3 * sum(work.flops for work in both)
    return Load((Work("train", f"autoencoder {name}", settings.budget_images, flops),))


def _train_load(config: Config, wildcards: dict[str, str]) -> Load:
    settings = config.run_settings(_row(config, wildcards), int(wildcards["seed"]))
    flops, parameters = network_size(settings.network, settings.shape)
    images = settings.steps * settings.batch_size
    work = Work("train", _network_name(settings), images, 3 * flops)
    # The last snapshot and the model are one file.
    return Load((work,), disk=4 * parameters * settings.snapshots)


def _evaluate_load(config: Config, wildcards: dict[str, str]) -> Load:
    row = _row(config, wildcards)
    settings = config.run_settings(row, int(wildcards["seed"]))
    sampling, dataset = config.sampling(row), config.datasets[row.dataset]
    flops, _ = network_size(settings.network, settings.shape)
    sets, evaluations = _sets(settings, sampling)
    last = {(sampler, steps) for sampler, steps, is_last in sets if is_last}
    grid = min(GRID_IMAGES, sampling.n_samples)
    images = sampling.n_samples * len(sets)
    seen = sampling.n_samples * sum(evaluations[sampler, steps] for sampler, steps, _ in sets)
    works = [Work("evaluate", _network_name(settings), seen, flops)]
    if isinstance(dataset.source, LatentSource):
        works.append(_autoencoder_work(config, row.dataset, images)[1])
    features = config.features(row.dataset)
    works += _feature_work(features, sampling.n_samples * len(sets))
    last_sets = sum(is_last for _, _, is_last in sets)
    pixels = config.datasets[_pixels_of(config, row.dataset)].shape
    return Load(
        tuple(works),
        seconds=_statistics_seconds(features, len(sets) - last_sets, last_sets),
        disk=grid * len(last) * math.prod(pixels),
    )


def _reference_load(config: Config, wildcards: dict[str, str]) -> Load:
    count = _image_count(config, wildcards["dataset"])
    extractors = [wildcards["extractor"]]
    stored = 4 * min(count, KEPT_FEATURES) + 8 * _INCEPTION_FEATURES
    return Load(
        tuple(_feature_work(extractors, count)),
        seconds=_statistics_seconds(extractors, 0, _FLOOR_SPLITS),
        disk=stored * _INCEPTION_FEATURES if "inception" in extractors[0] else 0,
    )


def _reconstruction_load(config: Config, wildcards: dict[str, str]) -> Load:
    count = _image_count(config, wildcards["dataset"])
    _, decoding = _autoencoder_work(config, wildcards["dataset"], count)
    features = _feature_work([wildcards["extractor"]], count)
    seconds = _statistics_seconds([wildcards["extractor"]], 0, 1)
    return Load((decoding, *features), seconds=seconds)


def _potentials_load(config: Config, wildcards: dict[str, str]) -> Load:
    fit, dataset = config.scaled_potentials(), config.datasets[wildcards["dataset"]]
    count = _image_count(config, wildcards["dataset"])
    flops = 2 * count * math.prod(dataset.shape)
    return Load((Work("evaluate", "potentials", fit.steps * fit.batch_size, flops),))


def _share_load(config: Config, wildcards: dict[str, str]) -> Load:
    """Return the training steps; what matching takes beside them is small but for the largest."""
    settings = config.run_settings(config.rows(wildcards["dataset"])[0], 0)
    share = config.scaled_matching_share()
    flops, _ = network_size(settings.network, settings.shape)
    steps = 2 * share.steps * (1 + share.rounds * (1 + len(share.match_sizes)))
    work = Work("train", _network_name(settings), steps * settings.batch_size, 3 * flops)
    return Load((work,))


def _pairs_load(config: Config, wildcards: dict[str, str]) -> Load:
    """Return the generation of a dataset's pairs, or the storing of so many samples."""
    dataset = wildcards["dataset"]
    pairs, row = config.scaled_pairs(dataset), config.vanilla_flow(dataset)
    count = pairs.draws * pairs.count
    disk = 4 * count * math.prod(config.datasets[dataset].shape)
    if row is None:
        return Load(disk=disk)
    return Load((_evaluation_work(config, row, count * _RK45_EVALUATIONS),), disk=disk)


def _loss_load(config: Config, wildcards: dict[str, str]) -> Load:
    pairs, dataset = config.scaled_pairs(wildcards["dataset"]), wildcards["dataset"]
    rows = [row for row in (config.vanilla_flow(dataset), config.matched_flow(dataset)) if row]
    images = pairs.count * (_RK45_EVALUATIONS + pairs.time_bins * _KINDS_OF_NOISE)
    return Load(tuple(_evaluation_work(config, row, images) for row in rows))


def _evaluation_work(config: Config, row: Experiment, images: int) -> Work:
    settings = config.run_settings(row, config.seeds(row)[0])
    flops, _ = network_size(settings.network, settings.shape)
    return Work("evaluate", _network_name(settings), images, flops)


def _crossings_load(config: Config, wildcards: dict[str, str]) -> Load:
    dataset = wildcards["dataset"]
    pairs = config.scaled_pairs(dataset)
    kinds = len(pairs.match_sizes) + (1 if config.vanilla_flow(dataset) is None else 2)
    return Load(seconds=kinds * pairs.embeddings * _TSNE_SECONDS)


def _matching_cost_load(config: Config, wildcards: dict[str, str]) -> Load:
    grid = config.scaled_matching_cost()
    cells = len(grid.match_sizes) * len(grid.dimensions) * len(grid.batch_sizes)
    return Load(seconds=cells * _CELL_SECONDS)


def _nothing(config: Config, wildcards: dict[str, str]) -> Load:
    return Load()


# Rules that only name others' results.
_TARGETS = ("stage_data", "demo", "all")
# Rules that make a table or a figure in seconds.
_RESULTS = (
    "measure_paths",
    "measure_reproducibility",
    "measure_best_of_k",
    "collect_distances",
    "collect_times",
    "collect_ablation",
    "measure_speed",
    "measure_coupling_speed",
    "measure_coupling_marginals",
    "measure_claims",
    "measure_coupling_claims",
    "write_report",
    "write_crate",
    "distance_table",
    "distance_curves",
    "distance_time",
    "saving",
    "matching_share",
    "claims",
    "sample_grid",
    "noise_sample_tsne",
    "path_geometry",
    "nearest_share",
    "loss_over_time",
    "reproducibility",
    "best_of_k",
    "matching_cost",
    "coupling_ablation",
    "coupling_saving",
    "coupling_claims",
)
_LOADS: dict[str, Callable[[Config, dict[str, str]], Load]] = {
    "download": _download_load,
    "make_smoke_dataset": _nothing,
    "build_dataset": _dataset_load,
    "fetch_autoencoder": _fetch_load,
    "fetch_inception": _inception_load,
    "make_smoke_autoencoder": _nothing,
    "make_smoke_inception": _nothing,
    "train_autoencoder": _train_autoencoder_load,
    "encode_latents": _encode_load,
    "train_model": _train_load,
    "evaluate_run": _evaluate_load,
    "compute_reference": _reference_load,
    "measure_reconstruction": _reconstruction_load,
    "fit_potentials": _potentials_load,
    "measure_matching_share": _share_load,
    "draw_pairs": _pairs_load,
    "count_crossings": _crossings_load,
    "measure_loss_over_time": _loss_load,
    "measure_matching_cost": _matching_cost_load,
    "train_classifier": _nothing,
    **dict.fromkeys((*_RESULTS, *_TARGETS), _nothing),
}


def _row(config: Config, wildcards: dict[str, str]) -> Experiment:
    names = (wildcards[key] for key in ("dataset", "process", "coupling"))
    return config.row(*names, int(wildcards["match_size"]))


def _sets(
    settings: RunSettings, sampling: Sampling
) -> tuple[list[tuple[str, int, bool]], dict[tuple[str, int], int]]:
    """Return the sets of samples of all snapshots, and network evaluations by sampler and steps."""
    sets, evaluations = [], {}
    for last in (False, True):
        times = 1 if last else settings.snapshots - 1
        for sampler, steps, ranges in sampling.sets(last):
            sets += [(sampler, steps, last)] * (ranges * times)
            evaluations[sampler, steps] = _evaluations(settings.process, sampler, steps)
    return sets, evaluations


def _evaluations(process: str, sampler: str, steps: int) -> int:
    if sampler == "rk45":
        return _RK45_EVALUATIONS
    return PROCESSES[process].sample(lambda x, t: x, torch.zeros(1, 1), sampler, steps).nfe


def _image_count(config: Config, name: str) -> int:
    """Return how many images a dataset has; 0 if only its files can tell."""
    name = _pixels_of(config, name)
    meta = Path(config.results) / "data" / name / "meta.json"
    if meta.exists():
        return read_json(meta)["count"]
    source = config.scaled_source(name)
    count = getattr(source, "count", None)
    if _has_standin(config, name):
        count = config.scales[config.scale].images
    return count or _PUBLISHED_IMAGES.get(getattr(source, "category", source.kind), 0)


def _has_standin(config: Config, name: str) -> bool:
    return config.scale is not None and not files_are_there(config.scaled_source(name))


def _pixels_of(config: Config, name: str) -> str:
    source = config.datasets[name].source
    return source.of if isinstance(source, LatentSource) else name


def _autoencoder_work(config: Config, dataset: str, images: int) -> tuple[Work, Work]:
    """Return encoding and decoding of so many images."""
    name = config.datasets[dataset].source.autoencoder
    shapes = config.latent_shapes(name)[dataset]
    folder = Path(config.results) / "autoencoders" / name
    settings: TrainedAutoencoder | PretrainedAutoencoder | None = config.autoencoders[name]
    if config.scale is not None and isinstance(settings, PretrainedAutoencoder):
        settings = None
    encoding, decoding = autoencoder_flops(settings, shapes, folder)
    return (
        Work("evaluate", f"encoder of {name}", images, encoding),
        Work("evaluate", f"decoder of {name}", images, decoding),
    )


def _feature_work(extractors: Iterable[str], images: int) -> list[Work]:
    # The digits' classifier and the stand-ins are too small to matter.
    return [
        Work("evaluate", "Inception", images, _INCEPTION_FLOPS)
        for name in extractors
        if name.startswith("inception")
    ]


def _statistics_seconds(extractors: Iterable[str], frechet: int, everything: int) -> float:
    """Return how long it takes to compare sets by the Fréchet distance, and by all metrics."""
    large = sum(name.startswith("inception") for name in extractors)
    return large * (frechet * _FRECHET_SECONDS + everything * _METRICS_SECONDS)


def _network_name(settings: RunSettings) -> str:
    content = settings.network.model_dump(mode="json") | {"shape": list(settings.shape)}
    return json.dumps(content, sort_keys=True)


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
    """How fast a device works.

    A network runs as it was measured; one that was not runs at the FLOP/s of the measured one that
    is nearest in size; if there is none, at the assumed share of the device's peak.

    Parameters
    ----------
    device
        Its name.
    measured
        What `calibrate` found on it: ``kind`` and ``name`` as in `Work`, ``flops`` an image,
        ``images_per_second``.
    """

    def __init__(self, device: str, measured: list[dict[str, Any]]) -> None:
        self.device = device
        self._measured = measured
        self._used: dict[str, set[str]] = defaultdict(set)

    def seconds(self, work: Work) -> float:
        """Return how long some work takes on one device."""
        alike = [m for m in self._measured if m["kind"] == work.kind]
        if not alike:
            self._used["assumed"].add(work.name)
            return work.images * work.flops / self._assumed(work.kind)
        exact = [m for m in alike if m["name"] == work.name]
        self._used["measured" if exact else "scaled"].add(work.name)
        nearest = min(exact or alike, key=lambda m: abs(math.log(m["flops"] / work.flops)))
        return work.images * work.flops / (nearest["flops"] * nearest["images_per_second"])

    def basis(self) -> list[str]:
        """Return what the seconds asked for so far rest on."""
        lines = []
        if self._used["measured"]:
            lines.append(f"{self.device}: {len(self._used['measured'])} networks as measured on it")
        if self._used["scaled"]:
            lines.append(
                f"{self.device}: {len(self._used['scaled'])} networks by their operations, at the "
                "rate of the measured network nearest in size"
            )
        if self._used["assumed"]:
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


def _read_calibration(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"devices": {}}
    content = read_json(path)
    if not isinstance(content, dict) or "devices" not in content:
        raise InputError(f"{path}: expected a calibration, found none; delete it to go on without")
    return content


def calibrate(config: Config, path: Path = CALIBRATION, seconds: float = 2.0) -> None:
    """Time training and sampling of every network of the configuration, and the disk.

    Networks of recipes that ask for a GPU are timed on this machine's, if it has one; without one
    they are left out, except at a reduced scale. Earlier results of other devices and networks are
    kept.

    Parameters
    ----------
    path
        File to write; the disk is that of its folder.
    seconds
        Spent on each measurement, about.
    """
    content = _read_calibration(path)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for settings, sampling_batch, gpus, threads in _presets(config):
        device = "cuda" if gpus and torch.cuda.is_available() else "cpu"
        if gpus and device == "cpu" and config.scale is None:
            continue
        if device == "cpu":
            torch.set_num_threads(min(threads, os.cpu_count() or 1))
        name = torch.cuda.get_device_name() if device == "cuda" else CPU
        found[name] += _measure_network(settings, sampling_batch, device, seconds)
    if torch.cuda.is_available() and config.scale is None:
        for name, settings in config.autoencoders.items():
            if isinstance(settings, PretrainedAutoencoder):
                measured = _measure_autoencoder(config, name, "cuda", seconds)
                found[torch.cuda.get_device_name()] += measured
    for device, measured in found.items():
        names = {(m["kind"], m["name"]) for m in measured}
        kept = [
            m for m in content["devices"].get(device, []) if (m["kind"], m["name"]) not in names
        ]
        content["devices"][device] = kept + measured
    content["disk_bytes_per_second"] = _measure_disk(path.parent)
    write_json(path, content)


def _presets(config: Config) -> list[tuple[RunSettings, int, int, int]]:
    """Return a run of each network, its batch size of sampling, GPUs and threads of its jobs."""
    rows = [*config.experiments]
    for ablation in config.coupling_ablations:
        rows += config.ablation(ablation)
    presets = {}
    for row in rows:
        settings, hardware = config.run_settings(row, 0), config.recipes[row.recipe].hardware
        batch = config.sampling(row).batch_size
        preset = (settings, batch, hardware.gpu, hardware.threads)
        presets.setdefault((_network_name(settings), hardware.gpu), preset)
    return list(presets.values())


def _measure_network(
    settings: RunSettings, sampling_batch: int, device: str, seconds: float
) -> list[dict[str, Any]]:
    flops, _ = network_size(settings.network, settings.shape)
    network = make_network(settings.network, settings.shape, seed=0).to(device)
    tune_network(network, channels_last=settings.channels_last, compiled=settings.compile)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    average = EMAModel(network.parameters(), decay=0.999, foreach=True)
    half = device == "cuda" and settings.mixed_precision == "bf16"
    batch = _batch_size(settings.batch_size, 3 * flops, device)
    samples = torch.randn(batch, *settings.shape, device=device)
    stream = torch.Generator().manual_seed(0)

    def train() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
            loss = PROCESSES[settings.process].loss(
                lambda points, times: network(points, times).sample, samples, samples, stream
            )
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        average.step(network.parameters())

    trained = batch * _per_second(train, device, seconds)
    batch = _batch_size(sampling_batch, flops, device)
    noise = torch.randn(batch, *settings.shape, device=device)
    times = torch.zeros(batch, device=device)
    sampled_from = make_network(settings.network, settings.shape).to(device).eval()

    def evaluate() -> None:
        with torch.inference_mode():
            sampled_from(noise, times)

    sampled = batch * _per_second(evaluate, device, seconds)
    name = _network_name(settings)
    return [
        {"kind": "train", "name": name, "flops": 3 * flops, "images_per_second": trained},
        {"kind": "evaluate", "name": name, "flops": flops, "images_per_second": sampled},
    ]


def _measure_autoencoder(
    config: Config, name: str, device: str, seconds: float
) -> list[dict[str, Any]]:
    found = []
    for dataset, shapes in list(config.latent_shapes(name).items())[:1]:
        settings = config.autoencoders[name]
        folder = Path(config.results) / "autoencoders" / name
        model = autoencoder_skeleton(settings, shapes, folder).model.to_empty(device=device)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.02)
        codec = Codec(model, {"mixed_precision": settings.mixed_precision}, device)
        works = _autoencoder_work(config, dataset, 1)
        for shape, call, work in zip(shapes, (codec.encode, codec.decode), works, strict=True):
            size = _batch_size(_AUTOENCODER_BATCH, work.flops, device)
            batch = torch.randn(size, *shape, device=device)
            rate = size * _per_second(partial(call, batch), device, seconds)
            measured = {"name": work.name, "flops": work.flops, "images_per_second": rate}
            found.append({"kind": "evaluate", **measured})
    return found


def _measure_disk(folder: Path) -> float:
    """Return how many bytes a second reach the disk of a folder."""
    block = os.urandom(2**20)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.perf_counter()
        for _ in range(_DISK_BLOCKS):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _DISK_BLOCKS * len(block) / (time.perf_counter() - started)


def _batch_size(wanted: int, flops: float, device: str) -> int:
    """Return a batch size of which a step takes no longer than a measurement should."""
    return wanted if device == "cuda" else max(1, min(wanted, int(_CPU_FLOPS / flops)))


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
    names = (job.wildcards.get(key) for key in ("dataset", "ablation", "autoencoder"))
    return next(filter(None, names), "")


def _readable_hours(hours: float) -> str:
    return "–" if hours == 0 else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _readable_bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "–" if count == 0 else f"{count / 1e3:.3g} kB"
