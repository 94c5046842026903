"""The parts of `benchmarks/gpu.py`: what each measures, case by case.

What a part imports beyond numpy, scipy, torch and the couplings, its functions import, so that
the others do without.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
import torch

ROOT = Path(__file__).parents[1]


class Value(NamedTuple):
    """A number that was measured; ``statistic`` says what it is and, of several, which."""

    case: str
    statistic: str
    value: float
    unit: str


class LeftOut(NamedTuple):
    """What a case does not measure on this machine, and why."""

    case: str
    why: str


Case = Callable[[], Iterator[Value | LeftOut]]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes
    ----------
    dataset
        Of the configuration: its first run's network trains and samples.
    batch_size
        Of the training steps; None: the recipe's.
    steps, rounds
        Training steps that are timed together, and how often.
    compiled
        Whether networks are compiled, too.
    match_sizes, dimensions, matched
        Of the pools, of their noises, and samples that are matched together.
    seconds
        For which a coupling's case is repeated.
    datasets
        Samples and dimensions of those whose potentials are fitted.
    noises
        Of a step of that.
    images, sampling_steps
        How many images are sampled, and in how many steps.
    patience
        Times which a part may take what it states.
    """

    dataset: str
    batch_size: int | None
    steps: int
    rounds: int
    compiled: bool
    match_sizes: tuple[int, ...]
    dimensions: int
    matched: int
    seconds: float
    datasets: tuple[tuple[int, int], ...]
    noises: int
    images: int
    sampling_steps: int
    patience: float


SCALES = {
    "full": Scale(
        dataset="cifar10",
        batch_size=None,
        steps=5,
        rounds=5,
        compiled=True,
        match_sizes=(100, 1_000, 10_000, 100_000),
        dimensions=3072,
        matched=250,
        seconds=2.0,
        datasets=((50_000, 3072), (100_000, 4096)),
        noises=1024,
        images=1000,
        sampling_steps=10,
        patience=1.0,
    ),
    "toy": Scale(
        dataset="digits",
        batch_size=4,
        steps=1,
        rounds=2,
        compiled=False,
        match_sizes=(10, 40),
        dimensions=8,
        matched=4,
        seconds=0.05,
        datasets=((50, 8), (100, 12)),
        noises=16,
        images=2,
        sampling_steps=2,
        patience=10.0,  # the machines that try the program may be busy
    ),
}


def quartiles(case: str, what: str, values: Iterable[float], unit: str) -> Iterator[Value]:
    """Yield median and quartiles of repeated measurements."""
    low, median, high = np.quantile(list(values), [0.25, 0.5, 0.75]).tolist()
    for name, value in (("median", median), ("lower quartile", low), ("upper quartile", high)):
        yield Value(case, f"{what}, {name}", value, unit)


def tests(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return a case for each file of ``tests/gpu``."""
    files = sorted((ROOT / "tests" / "gpu").glob("test_*.py"))
    return {file.stem: partial(_run_tests, file, device) for file in files}


def _run_tests(file: Path, device: str) -> Iterator[Value | LeftOut]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--device={device}"]
        command += [f"--junitxml={report}", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(done.stdout, done.stderr, flush=True)
        if not report.exists():
            raise RuntimeError(f"pytest: {(done.stdout + done.stderr).strip()[-2000:]}")
        found = list(ElementTree.parse(report).iter("testcase"))
    failed = []
    for test in found:
        name = f"{file.stem}, {test.get('name') or 'all'}"
        outcomes = {child.tag: child.get("message", "") for child in test}
        if "skipped" in outcomes:
            why = outcomes["skipped"]
            if why == "collection skipped":  # a whole file, whose reason is inside a tuple
                why = (test.findtext("skipped") or "").partition("Skipped: ")[2]
                why = why.removesuffix('")').removesuffix("')")
            yield LeftOut(name, why)
        elif outcomes.keys() & {"failure", "error"}:
            failed.append(f"{name}: {outcomes.get('failure') or outcomes.get('error')}")
        else:
            yield Value(name, "passed", 1.0, "tests")
    if failed:
        raise AssertionError("\n".join(failed))


def training_step(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return a case for each of the eight ways of a training step, those that compile last."""
    from train_step import ways

    chosen = ways(bf16=True, compiled=True)
    order = sorted(chosen, key=lambda name: chosen[name]["compile"])
    return {name: partial(_way, name, chosen[name], scale, device) for name in order}


def _way(
    name: str, way: Mapping[str, object], scale: Scale, device: str
) -> Iterator[Value | LeftOut]:
    from train_step import in_a_process, measure

    if way["mixed_precision"] == "bf16" and not (
        device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        yield LeftOut(name, "the device has no bf16")
        return
    if way["compile"] and not scale.compiled:
        yield LeftOut(name, "compiling takes minutes")
        return
    settings = _run_settings(scale).model_copy(update=way)
    threads = torch.get_num_threads()
    found = in_a_process(measure, settings, scale.steps, rounds=scale.rounds, threads=threads)
    yield from quartiles(name, "step", (1e3 * one for one in found.seconds), "ms")
    rate = settings.batch_size / float(np.median(found.seconds))
    yield Value(name, "speed", rate, "images/s")
    yield Value(name, "first step", found.first, "s")
    yield Value(name, "peak memory", found.memory / 2**30, "GiB")


def _run_settings(scale: Scale):  # noqa: ANN202 - of what the couplings do without
    from dansm.config import load_config

    config = load_config(ROOT / "config" / "config.yaml")
    settings = config.run_settings(config.runs_of(scale.dataset)[0], seed=0)
    size = scale.batch_size or settings.batch_size
    return settings.model_copy(update={"batch_size": size, "horizontal_flips": False})


def matching_share(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return one case, of all match sizes in turn beside the training step without matching."""
    return {"beside training steps": partial(_share, scale, left)}


def _share(scale: Scale, left: Callable[[], float]) -> Iterator[Value | LeftOut]:
    import pandas as pd
    from train_step import random_store

    from dansm.analysis.matching_share import turns
    from dansm.analysis.shares import matching_shares
    from dansm.config import MatchingShare
    from dansm.data.store import open_store

    run = _run_settings(scale)
    settings = MatchingShare(
        match_sizes=list(scale.match_sizes),
        rounds=scale.rounds,
        steps=scale.steps,
        memory_mb=10_000,
        seed=0,
    )
    rows = []
    with random_store(run) as folder:
        for row in turns(settings, run, open_store(folder), folder / "run"):
            rows.append(row)
            if left() < 0:
                break
    planned = scale.rounds * len(scale.match_sizes)
    if len(rows) < planned:
        why = f"no time left after {len(rows)} of {planned} turns"
        yield LeftOut("beside training steps, later rounds", why)
    table = matching_shares(pd.DataFrame(rows))
    yield from quartiles("match size 0", "step", table.groupby("round")["step_ms"].first(), "ms")
    for match_size, own in table.groupby("match_size"):
        case = f"match size {match_size}"
        yield from quartiles(case, "matching a batch", own["match_ms"], "ms")
        yield from quartiles(case, "step with matching ahead", own["ahead_step_ms"], "ms")
        yield from quartiles(case, "share of a step, inline", own["inline"], "%")
        yield from quartiles(case, "share of a step, ahead", own["ahead"], "%")


def matching(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return cases of greedy matching and of the same done one by one, and their agreement."""
    cases: dict[str, Case] = {}
    for match_size in scale.match_sizes:
        for method in ("greedy", "one_by_one"):
            case = f"{method}, match size {match_size}"
            cases[case] = partial(_match, case, method, match_size, scale, device)
        case = f"greedy, match size {match_size}, as on the CPU"
        cases[case] = partial(_agree, case, match_size, scale, device)
    return cases


def _match(
    case: str, method: str, match_size: int, scale: Scale, device: str
) -> Iterator[Value | LeftOut]:
    from dansm.analysis.timed_methods import Cell, time_cell

    batch_size = scale.matched if method == "greedy" else None
    cell = Cell(method, match_size, scale.dimensions, batch_size, device)
    found = time_cell(cell, 0, seconds=scale.seconds, repetitions=200, limit_seconds=20.0)
    for name, key in (
        ("median", "microseconds_per_sample"),
        ("lower quartile", "low"),
        ("upper quartile", "high"),
    ):
        yield Value(case, f"a sample, {name}", found[key], "µs")


def _agree(case: str, match_size: int, scale: Scale, device: str) -> Iterator[Value | LeftOut]:
    from dansm.couplings import make_coupling
    from dansm.randomness import generator, normal

    x = normal((scale.matched, scale.dimensions), generator(0, "samples"))
    here, there = (make_coupling("greedy", match_size=match_size, seed=0) for _ in range(2))
    same = (here.match(x) == there.match(x.to(device)).cpu()).all(dim=1)
    yield Value(case, "same noises", 100 * float(same.float().mean()), "%")


def potentials(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return a case for each dataset: steps of the fit, and what all of them would take."""
    return {
        f"{count} x {dimensions}": partial(_ascend, count, dimensions, scale, device)
        for count, dimensions in scale.datasets
    }


def _ascend(count: int, dimensions: int, scale: Scale, device: str) -> Iterator[Value | LeftOut]:
    from dansm.couplings.potentials import ascend, sort_by_class

    case = f"{count} x {dimensions}"
    stream = torch.Generator(device).manual_seed(0)
    samples = torch.randn(count, dimensions, generator=stream, device=device)
    known = sort_by_class(samples, None)
    options = {"batch_size": scale.noises, "learning_rate": 1.0, "metric": "euclidean"}
    ascent = ascend(samples, known, seed=0, **options)

    def step() -> float:
        started = time.perf_counter()
        next(ascent)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    for _ in range(3):  # to warm up
        step()
    seconds, stop = [step() for _ in range(3)], time.perf_counter() + 4 * scale.seconds
    while time.perf_counter() < stop:
        seconds.append(step())
    yield from quartiles(case, f"step of {scale.noises} noises", (1e3 * s for s in seconds), "ms")
    yield Value(case, "4000 steps, extrapolated", 4000 * float(np.median(seconds)), "s")
    if device == "cuda":
        yield Value(case, "peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def sampling(scale: Scale, device: str, left: Callable[[], float]) -> dict[str, Case]:
    """Return one case: sampling and features, with and without PNG files between them."""
    return {f"{scale.images} images, {scale.sampling_steps} steps": partial(_sample, scale)}


def _sample(scale: Scale) -> Iterator[Value | LeftOut]:
    from sample_without_png import measure

    workers = min(8, len(os.sched_getaffinity(0)))
    found = measure(
        scale.dataset, scale.images, scale.sampling_steps, workers=workers, rounds=scale.rounds
    )
    for way, seconds in found.seconds.items():
        yield from quartiles(way, "all images", seconds, "s")
        yield Value(way, "speed", scale.images / float(np.median(seconds)), "images/s")
    yield Value("by way of PNG", "difference of features", found.difference, "of the largest")


@dataclass(frozen=True)
class Part:
    """One part of the whole.

    Attributes
    ----------
    cases
        Given scale, device and what tells the seconds left, returns cases by their names.
    seconds
        After which it is stopped; what parts before it have not used is added.
    needs
        Packages that an installation may lack; without them it is left out.
    """

    cases: Callable[[Scale, str, Callable[[], float]], dict[str, Case]]
    seconds: float
    needs: tuple[str, ...] = ()


_TRAINING = ("accelerate", "diffusers", "pandas", "psutil", "pydantic", "safetensors")
_TRAINING += ("tensorboard", "typer", "yaml")
PARTS = {
    "tests": Part(tests, 100, ("pytest",)),
    "matching": Part(matching, 45),
    "potentials": Part(potentials, 35),
    "matching share": Part(matching_share, 50, _TRAINING),
    "sampling": Part(sampling, 50, (*_TRAINING, "cleanfid", "torchvision")),
    # Last, so that it gets the time that the others leave: each compilation takes a minute.
    "training step": Part(training_step, 185, _TRAINING),
}
