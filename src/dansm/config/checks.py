"""What is refused of a configuration whose values, each by itself, are right."""

from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dansm.catalogue import COUPLINGS, EXTRACTORS, LOSSES, PROCESSES, SOLVERS, SOURCES, Pick
from dansm.config.base import Shape, shown
from dansm.config.claims import DistanceMeasure
from dansm.config.comparisons import ComparisonEntry
from dansm.config.datasets import Dataset, LatentSource, TrainedAutoencoder
from dansm.config.runs import Run
from dansm.errors import InputError
from dansm.processes.grids import evaluations, is_searched

if TYPE_CHECKING:
    from dansm.config.configuration import Config

Problems = Iterator[str]
# Directly below the folder of results, where scales have theirs.
FOLDERS = {
    *("autoencoders", "benchmarks", "classifiers", "data", "encoding", "features", "figures"),
    *("from_reference", "grids", "held_out", "inception", "jobs", "logs", "noise_sample_pairs"),
    *("pairs", "pipelines"),
    *("potentials", "reference", "results", "runs", "standins", "training"),
}


def problems_of(config: "Config") -> list[str]:
    """Return a line for each thing that is wrong, each with its key, what was expected and found.

    Comparisons are looked at once names, datasets and runs are right, which they take for granted.
    """
    for checks in ((_names,), (_datasets, _classifiers, _runs, _claims, _pairs), (_comparisons,)):
        problems = [problem for check in checks for problem in check(config)]
        if problems:
            return problems
    return []


def _references(config: "Config") -> Iterator[tuple[str, Iterable[str], Iterable[str]]]:
    """Yield each key that names things, their names, and the names that there are."""
    datasets, samplers = config.datasets, config.samplers
    images = [n for n, d in datasets.items() if not isinstance(d.source, LatentSource)]
    runs: dict[str, list[str]] = {name: [] for name in datasets}
    for run in config.runs:
        runs.setdefault(run.dataset, []).append(run.name)
    for name, dataset in datasets.items():
        where, compared = f"datasets.{name}", name
        if isinstance(dataset.source, LatentSource):
            compared = dataset.source.of
            yield f"{where}.source.autoencoder", [dataset.source.autoencoder], config.autoencoders
            yield f"{where}.source.of: expected a pixel dataset", [compared], images
        if any(EXTRACTORS[feature].weights == "classifier" for feature in dataset.features):
            yield f"{where}.features: classifiers", [compared], config.classifiers
    for name, autoencoder in config.autoencoders.items():
        if isinstance(autoencoder, TrainedAutoencoder):
            yield f"autoencoders.{name}.dataset", [autoencoder.dataset], images
    yield "classifiers", config.classifiers, images
    apart = [name for name in images if datasets[name].held_out]
    classified = [name for name in config.classifiers if name in images]
    yield "classifiers: of a dataset without held_out images", classified, apart
    with_files = [n for n in images if SOURCES[datasets[n].source.kind].files]
    yield "mirrors", config.mirrors, with_files
    for name, recipe in config.recipes.items():
        yield f"recipes.{name}.network", [recipe.network], config.networks
        for plan in recipe.sampling.plans:
            yield f"recipes.{name}.sampling", plan, samplers
    for run in config.runs:
        where = f"runs: {run.dataset} {run.name}"
        yield f"{where}: dataset", [run.dataset], datasets
        yield f"{where}: recipe", [run.recipe], config.recipes
        for plan in (run.each_snapshot, run.final, run.final_one_set):
            yield f"{where}: sampling", plan or [], samplers
        for key, other in run.before.items():
            yield f"{where}: {key}", [other], runs[run.dataset]
        if run.teacher is not None:
            yield f"{where}: sampler", [run.coupling.options["sampler"]], samplers
    with_runs = [name for name, known in runs.items() if known]
    comparisons = {*with_runs, *config.comparisons}
    for name, entry in config.comparisons.items():
        where, dataset = f"comparisons.{name}", entry.dataset or name
        known = runs.get(dataset, [])
        yield f"{where}.dataset", [dataset], with_runs
        yield f"{where}.runs", entry.runs or [], known
        yield f"{where}.baseline", entry.baseline or [], entry.runs or known
        if entry.sampling is not None:
            for plan in (entry.sampling.final, entry.sampling.final_one_set):
                yield f"{where}.sampling", plan, samplers
    for name, compared in config.targets.items():
        yield f"targets.{name}", compared, comparisons
    yield "report", config.report, comparisons
    yield "coupling_marginals.comparison", [config.coupling_marginals.comparison], comparisons
    of_datasets = [n for n, pairs in config.noise_sample_pairs.items() if not pairs.pipeline]
    yield "noise_sample_pairs", of_datasets, datasets
    for name, pairs in config.noise_sample_pairs.items():
        for key, run in (("run", pairs.run), ("matched_run", pairs.matched_run)):
            yield f"noise_sample_pairs.{name}.{key}", [run] if run else [], runs.get(name, [])
    for claim in config.claims:
        where = f"claims.{claim.name}"
        yield f"{where}.comparisons", claim.comparisons or [], comparisons
        if isinstance(claim.measure, DistanceMeasure):
            yield f"{where}.measure.sampler", [claim.measure.sampler], samplers
            yield f"{where}.measure", claim.measure.runs_named, {r.name for r in config.runs}
    yield "scale", [config.scale] if config.scale else [], config.scales


def _names(config: "Config") -> Problems:
    for where, names, known in _references(config):
        for name in names:
            if name not in known:
                yield f"{where}: unknown {name!r}; expected one of {sorted(known)}"
    for what, found in (
        ("runs: a second run", Counter(f"{run.dataset} {run.name}" for run in config.runs)),
        ("claims: a second claim", Counter(claim.name for claim in config.claims)),
    ):
        yield from (f"{what} {name!r}" for name, times in found.items() if times > 1)
    for name, entry in config.comparisons.items():
        if name in config.datasets and (entry.dataset or name) != name:
            yield (
                f"comparisons.{name}.dataset: expected {name!r}, since files of the dataset have "
                f"that name too, found {entry.dataset!r}"
            )
    for name, pairs in config.noise_sample_pairs.items():
        if pairs.pipeline and name in config.datasets:
            yield (
                f"noise_sample_pairs.{name}.pipeline: expected a name that no dataset has, since "
                f"their files would have the same names, found {name!r}"
            )
    for name in {*config.scales} & FOLDERS:
        yield f"scales.{name}: expected a name that no folder of results has, found {name!r}"
    if config.scale is not None and config.drawn_from is not None:
        yield f"from: expected no scale beside it, found {config.scale!r}"


def _datasets(config: "Config") -> Problems:
    for name, dataset in config.datasets.items():
        if not isinstance(dataset.source, LatentSource):
            count, least = getattr(dataset.source, "count", None), config.least_images(name)
            if count is not None and count < least:
                yield (
                    f"datasets.{name}.source.count: expected at least {least} images for its "
                    f"distances, found {count}"
                )
            for problem in _misfits_held_out(dataset, least):
                yield f"datasets.{name}.{problem}"
            continue
        for key in ("held_out", "reference"):
            if getattr(dataset, key) is not None:
                yield (
                    f"datasets.{name}.{key}: expected it of {dataset.source.of!r}, whose images "
                    "are compared"
                )
        images = config.datasets[dataset.source.of].shape
        autoencoder = config.autoencoders[dataset.source.autoencoder]
        where = f"datasets.{name}.shape"
        made_by = f"autoencoder {dataset.source.autoencoder!r} makes of {images}"
        if isinstance(autoencoder, TrainedAutoencoder):
            factor = 2 ** (len(autoencoder.channels) - 1)
            expected = (autoencoder.latent_channels, *(side // factor for side in images[1:]))
            of = config.datasets[autoencoder.dataset].shape
            if any(side % factor for side in (*images[1:], *of[1:])) or images[0] != of[0]:
                yield (
                    f"{where}: expected images of {of[0]} channels with sides divisible by "
                    f"{factor} for autoencoder {dataset.source.autoencoder!r}, found {images}"
                )
            elif dataset.shape != expected:
                yield f"{where}: expected {expected}, which {made_by}, found {dataset.shape}"
        elif not _halved(images, dataset.shape):
            yield (
                f"{where}: expected the sides that {made_by}, halved several times, found "
                f"{dataset.shape}"
            )


def _misfits_held_out(dataset: Dataset, least: int) -> Problems:
    """Yield why a dataset's images cannot be kept apart, or compared, as it says."""
    source, held_out = dataset.source, dataset.held_out
    if held_out is None:
        if dataset.reference == "held_out":
            yield "reference: expected held_out beside it, found none"
        return
    fields = type(source).model_fields
    if held_out.published and "part" not in fields:
        yield f"held_out: expected a source that is published with a test set, found {source.kind}"
    if held_out.published and getattr(source, "part", "training") == "test":
        yield "held_out: expected other images than the test set, which the source is"
    if held_out.folder is not None and source.kind != "image_folder":
        yield f"held_out.folder: expected it of an image_folder, found {source.kind}"
    if held_out.folder is not None and held_out.folder == getattr(source, "folder", None):
        yield f"held_out.folder: expected another than the source's, found {held_out.folder}"
    if held_out.beyond is not None and getattr(source, "count", None) is None:
        yield f"held_out.beyond: expected a count in the source, found none in {source.kind}"
    if held_out.beyond is not None and held_out.beyond < least:
        yield f"held_out.beyond: expected at least {least} images, found {held_out.beyond}"
    known = getattr(source, "count", None) or SOURCES[source.kind].images
    if held_out.share is not None and known:
        apart = round(held_out.share * known)
        if min(apart, known - apart) < max(least, 1):
            yield (
                f"held_out.share: expected at least {max(least, 1)} images on either side, found "
                f"{held_out.share} of {known}"
            )


def _classifiers(config: "Config") -> Problems:
    for name, classifier in config.classifiers.items():
        shape = config.datasets[name].shape
        if min(shape[1:]) < 2**classifier.blocks:
            yield (
                f"classifiers.{name}.blocks: expected fewer than would halve {shape[1]}×{shape[2]} "
                f"to nothing, found {classifier.blocks}"
            )


def _halved(images: Shape, latents: Shape) -> bool:
    """Whether both sides are those of images after the same number of halvings."""
    factor = images[1] // latents[1]
    return factor.bit_count() == 1 and images[1:] == tuple(factor * side for side in latents[1:])


def _runs(config: "Config") -> Problems:
    heights: dict[str, set[int]] = {}
    for run in config.runs:
        network = config.recipes[run.recipe].network
        levels = range(len(config.networks[network].channels))
        height = config.datasets[run.dataset].shape[1] // config.networks[network].patch
        heights.setdefault(network, set()).update(height >> level for level in levels)
    for network, known in heights.items():
        for height in set(config.networks[network].attention_at) - known:
            yield (
                f"networks.{network}.attention_at: expected heights that the images of its runs "
                f"have at its levels, {sorted(known)}, found {height}"
            )
    for run in config.runs:
        for problem in (*_misfits(config, run), *_misfits_before(config, run)):
            yield f"runs: {run.dataset} {run.name}: {problem}"
    graph = {
        f"{run.dataset} {run.name}": {f"{run.dataset} {other}" for other in run.before.values()}
        for run in config.runs
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        yield f"runs: a circle of teachers and starts, {' → '.join(reversed(error.args[1]))}"


def _misfits(config: "Config", run: Run) -> Problems:
    dataset, recipe = config.datasets[run.dataset], config.recipes[run.recipe]
    network = config.networks[recipe.network]
    halvings = len(network.channels) - 1
    factor = network.patch * 2**halvings
    if any(side % factor for side in dataset.shape[1:]):
        patches = f" in patches of {network.patch}" if network.patch > 1 else ""
        yield (
            f"network {recipe.network!r} halves the image{patches} {halvings} times, so sides must "
            f"be divisible by {factor}; dataset {run.dataset!r} is "
            f"{dataset.shape[1]}×{dataset.shape[2]}"
        )
    try:
        plans = run.complete(recipe).sampling.plans
    except ValidationError as error:
        yield from (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        plans = ()
    for plan in plans:
        for sampler, steps in plan.items():
            yield from _sampler_misfits(config, run.process, sampler, steps)
    yield from _objective_misfits(config, run)
    entry = COUPLINGS[run.coupling.name]
    drawn_anew = getattr(dataset.source, "posterior", "mean") == "sample"
    if (
        entry.fixed_samples
        and "noise" not in entry.needs  # whose pairs replace the dataset
        and (dataset.horizontal_flips or drawn_anew)
    ):
        yield (
            f"{run.coupling.name} pairs noises with the stored samples, so it does not go with the "
            f"{'horizontal_flips' if dataset.horizontal_flips else 'posterior sample'} of dataset "
            f"{run.dataset!r}"
        )
    if not dataset.features:
        yield f"dataset {run.dataset!r} names no features, so no distance can be computed"


def _objective_misfits(config: "Config", run: Run) -> Problems:
    """Yield what of a run's process, loss and network does not go together."""
    process, loss = PROCESSES[run.process.name], LOSSES[run.loss.name]
    recipe = config.recipes[run.recipe]
    if process.loss is not None and loss.name != process.loss:
        yield f"loss: expected {process.loss}, which {process.name} needs, found {run.loss.text}"
    if loss.processes is not None and process.name not in loss.processes:
        yield (
            f"loss {run.loss.text}: expected a process of {list(loss.processes)}, found "
            f"{process.name}"
        )
    if run.loss.options.get("of") == "data" and not process.path:
        yield f"loss {run.loss.text}: expected a process that predicts data, found {process.name}"
    if config.networks[recipe.network].two_times != process.two_times:
        yield (
            f"network {recipe.network!r}: expected two_times: {str(process.two_times).lower()} for "
            f"{process.name}"
        )
    if process.two_times and (recipe.hardware.gpu > 1 or recipe.compile):
        yield (
            f"recipe {run.recipe!r}: expected one GPU at most and no compile, since {process.name} "
            "differentiates the network forwards"
        )


def _misfits_before(config: "Config", run: Run) -> Problems:
    """Yield what is wrong with the runs that a run needs."""
    for key, name in run.before.items():
        other = config.run(run.dataset, name)
        missing = sorted(set(run.seeds) - set(other.seeds))
        if missing:
            yield f"{key} {name!r}: expected the run's seeds {run.seeds}, found no {missing}"
    if run.teacher is not None:
        options = run.coupling.options
        process = config.run(run.dataset, run.teacher).process
        steps = [options["steps"]] if "steps" in options else []
        sampler = config.samplers[options["sampler"]]
        problems = [*_sampler_misfits(config, process, options["sampler"], steps)]
        yield from problems
        if not problems and is_searched(PROCESSES[process.name], sampler):
            yield f"sampler {options['sampler']!r}: expected a grid that is not searched"
        if options.get("inverted") and SOLVERS[sampler.name].adaptive:
            yield f"inverted: expected a sampler with steps, found {options['sampler']!r}"
        pairs = options["count"] + options.get("inverted", 0)
        batch = config.recipes[run.recipe].batch_size
        if pairs < batch:
            yield f"teacher_pairs: expected a batch of {batch} pairs at least, found {pairs}"
    if isinstance(run.start, str):
        found = config.recipes[config.run(run.dataset, run.start).recipe].network
        expected = config.recipes[run.recipe].network
        if config.networks[found] != config.networks[expected]:
            yield f"start {run.start!r}: expected a run of network {expected!r}, found {found!r}"


def _sampler_misfits(config: "Config", process: Pick, name: str, steps: list[int]) -> Problems:
    for number in steps or [0]:
        try:
            evaluations(process, config.samplers[name], number)
        except InputError as error:
            yield f"sampler {name!r} of {process.name}: {error}"


def _claims(config: "Config") -> Problems:
    for claim in config.claims:
        if not isinstance(claim.measure, DistanceMeasure):
            continue
        where = f"claims.{claim.name}"
        steps = [claim.measure.steps] if claim.measure.steps else []
        runs = {*claim.measure.runs_named}
        for process in {run.process for run in config.runs if run.name in runs}:
            for problem in _sampler_misfits(config, process, claim.measure.sampler, steps):
                yield f"{where}.measure: {problem}"
        missing = {
            name: sorted(runs - {run.name for run in config.compared(name)})
            for name in claim.comparisons or config.comparison_names
        }
        if claim.comparisons is None and all(missing.values()):
            yield f"{where}: expected a comparison of {sorted(runs)}, found none"
        for name in claim.comparisons or []:
            if missing[name]:
                yield f"{where}.comparisons: {name!r} does not compare {missing[name]}"


def _pairs(config: "Config") -> Problems:
    for name, pairs in config.noise_sample_pairs.items():
        known = config.run(name, pairs.run).seeds if pairs.run else []
        if missing := sorted({*(pairs.seeds or [])} - {*known}):
            of = f"those of run {pairs.run}, {known}" if pairs.run else "none without a run"
            yield f"noise_sample_pairs.{name}.seeds: expected {of}, found {missing}"


def _comparisons(config: "Config") -> Problems:
    for name in config.comparison_names:
        where = f"comparisons.{name}"
        entry = config.comparisons.get(name, ComparisonEntry())
        runs = config.compared(name)
        processes = Counter(run.process.text for run in runs if run.name in (entry.baseline or []))
        if processes and max(processes.values()) > 1:
            yield f"{where}.baseline: expected one of a process, found {entry.baseline}"
        lone = {run.process.text for run in runs} - set(processes)
        if processes and lone:
            yield f"{where}.baseline: expected one of {sorted(lone)} too, found {entry.baseline}"
        if entry.sampling is not None:
            for plan in (entry.sampling.final, entry.sampling.final_one_set):
                for process in dict.fromkeys(run.process for run in runs):
                    for sampler, steps in plan.items():
                        for problem in _sampler_misfits(config, process, sampler, steps):
                            yield f"{where}.sampling: {problem}"
        for seed in entry.seeds or []:
            if not any(seed in run.seeds for run in runs):
                yield f"{where}.seeds: expected those of its runs, found {seed}, which none has"
        for run in runs:
            if entry.seeds and not set(entry.seeds) & set(run.seeds):
                yield f"{where}.seeds: expected one of {run.name}, {run.seeds}, found {entry.seeds}"
        for condition, ((first, one), (second, other)) in config.differences(name).items():
            if condition not in entry.unequal:
                yield (
                    f"{where}: runs differ in {condition}, {first} has {shown(one)} and {second} "
                    f"{shown(other)}; a comparison that is meant so says unequal: [{condition}]"
                )
