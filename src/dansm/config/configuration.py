"""The whole of the configuration, and what follows from it about runs and comparisons."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from dansm.catalogue import COUPLINGS, GRIDS, PROCESSES, SOLVERS, SOURCES, Pick
from dansm.config.base import Model, Name, Names, Sha256, Shape, SolverPick
from dansm.config.claims import Claim, DistanceMeasure
from dansm.config.cluster import Cluster
from dansm.config.comparisons import CONDITIONS, Comparison, ComparisonEntry, Condition
from dansm.config.datasets import (
    Autoencoder,
    Classifier,
    Dataset,
    LatentSource,
    PotentialsFit,
    TrainedAutoencoder,
)
from dansm.config.measurements import (
    BestOfK,
    CouplingMarginals,
    MatchingCost,
    MatchingShare,
    NoiseSamplePairs,
)
from dansm.config.runs import (
    Network,
    Recipe,
    Run,
    RunEntry,
    RunSettings,
    Sampling,
    expand_runs,
)
from dansm.config.scale import Scale
from dansm.errors import InputError

# The weights that clean-fid and StyleGAN's metrics use.
INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"

Address = Annotated[str, Field(pattern=r"^(https?://|file:)")]
Problems = Iterator[str]


class Config(Model):
    """The whole of ``config/config.yaml``."""

    datasets: dict[Name, Dataset]
    autoencoders: dict[Name, Autoencoder] = Field(default={})
    classifiers: dict[Name, Classifier] = Field(
        default={}, description="By the dataset they learn; for its feature digit_classifier"
    )
    potentials: PotentialsFit
    inception_weights: Path | None = Field(
        default=None,
        description="Folder with inception-2015-12-05.pt; none: from a cache or downloaded",
    )
    inception_sha256: Sha256 = Field(default=INCEPTION_SHA256, description="What that file must be")
    mirrors: dict[Name, Annotated[list[Address], Field(min_length=1)]] = Field(
        default={},
        description="By dataset: folders that hold its published files, tried before the rest",
    )
    networks: dict[Name, Network]
    samplers: dict[Name, SolverPick] = Field(
        description="Solvers with their time grids, by the names that sampling plans use"
    )
    recipes: dict[Name, Recipe]
    runs: Annotated[
        list[Run], BeforeValidator(expand_runs, json_schema_input_type=list[RunEntry])
    ] = Field(min_length=1)
    comparisons: dict[Name, ComparisonEntry] = Field(
        default={}, description="Beside one for each dataset with runs, of its name"
    )
    noise_sample_pairs: dict[Name, NoiseSamplePairs] = Field(default={})
    best_of_k: BestOfK
    coupling_marginals: CouplingMarginals
    matching_cost: MatchingCost
    matching_share: MatchingShare
    claims: list[Claim] = Field(default=[])
    demo: Names = Field(description="Comparisons of the target demo")
    report: Names | None = Field(
        default=None, description="Comparisons of report.zip and crate.zip; none: those of demo"
    )
    cluster: Cluster = Cluster()
    scales: dict[Name, Scale] = Field(default={})
    scale: Name | None = Field(default=None, description="One of scales; none: full size")
    drawn_from: Literal["reference"] | None = Field(
        default=None, alias="from", description="Figures of archived results; none: of own runs"
    )

    # What is refused.

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        problems = [*self._wrong_names()]
        if not problems:  # what follows takes names for granted
            problems += self._wrong_datasets()
            problems += self._wrong_runs()
        if not problems:
            problems += self._wrong_comparisons()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _references(self) -> Iterator[tuple[str, str, Any]]:
        """Yield each key that names something, the name, and the names that there are."""
        for name, dataset in self.datasets.items():
            where = f"datasets.{name}"
            if isinstance(dataset.source, LatentSource):
                yield f"{where}.source.autoencoder", dataset.source.autoencoder, self.autoencoders
                yield f"{where}.source.of", dataset.source.of, self.datasets
            elif "digit_classifier" in dataset.features:
                yield f"{where}.features: classifiers", name, self.classifiers
        for name, autoencoder in self.autoencoders.items():
            if isinstance(autoencoder, TrainedAutoencoder):
                yield f"autoencoders.{name}.dataset", autoencoder.dataset, self.datasets
        for name in self.classifiers:
            yield "classifiers", name, self.datasets
        with_files = [
            name for name, d in self.datasets.items() if _has_published_files(d.source.kind)
        ]
        for name in self.mirrors:
            yield "mirrors", name, with_files
        for name, recipe in self.recipes.items():
            yield f"recipes.{name}.network", recipe.network, self.networks
            for sampler in recipe.sampling.names:
                yield f"recipes.{name}.sampling", sampler, self.samplers
        for run in self.runs:
            where = f"runs: {run.dataset} {run.name}"
            yield f"{where}: dataset", run.dataset, self.datasets
            yield f"{where}: recipe", run.recipe, self.recipes
            for plan in (run.each_snapshot, run.final, run.final_one_set):
                for sampler in plan or {}:
                    yield f"{where}: sampling", sampler, self.samplers
            beside = [other.name for other in self.runs if other.dataset == run.dataset]
            for key, other in (("start", run.start), ("teacher", run.teacher)):
                if other is not None:
                    yield f"{where}: {key}", other, beside
            if run.teacher is not None:
                yield f"{where}: sampler", run.coupling.options["sampler"], self.samplers
        comparisons = [*dict.fromkeys([*self._datasets_with_runs, *self.comparisons])]
        for name, entry in self.comparisons.items():
            where = f"comparisons.{name}"
            yield f"{where}.dataset", entry.dataset or name, self._datasets_with_runs
            known = [run.name for run in self.runs if run.dataset == (entry.dataset or name)]
            for run in entry.runs or []:
                yield f"{where}.runs", run, known
            for run in entry.baseline or []:
                yield f"{where}.baseline", run, entry.runs or known
        for key, names in (("demo", self.demo), ("report", self.report or [])):
            for name in names:
                yield key, name, comparisons
        yield "coupling_marginals.comparison", self.coupling_marginals.comparison, comparisons
        for name, pairs in self.noise_sample_pairs.items():
            yield "noise_sample_pairs", name, self.datasets
            known = [run.name for run in self.runs if run.dataset == name]
            for key, run in (("run", pairs.run), ("matched_run", pairs.matched_run)):
                if run is not None:
                    yield f"noise_sample_pairs.{name}.{key}", run, known
        all_runs = {run.name for run in self.runs}
        for claim in self.claims:
            where = f"claims.{claim.name}"
            for name in claim.comparisons or []:
                yield f"{where}.comparisons", name, comparisons
            if isinstance(claim.measure, DistanceMeasure):
                yield f"{where}.measure.sampler", claim.measure.sampler, self.samplers
                for run in claim.measure.runs_named:
                    yield f"{where}.measure", run, all_runs
        if self.scale is not None:
            yield "scale", self.scale, self.scales

    def _wrong_names(self) -> Problems:
        for where, name, known in self._references():
            if name not in known:
                yield f"{where}: unknown {name!r}; expected one of {sorted(known)}"
        keys = [run.name for run in self.runs], [claim.name for claim in self.claims]
        keys = [(run.dataset, run.name) for run in self.runs], *keys[1:]
        for what, names in zip(("runs: a second run", "claims: a second claim"), keys, strict=True):
            for name in sorted({name for name in names if names.count(name) > 1}):
                yield f"{what} {name if isinstance(name, str) else ' '.join(name)!r}"
        if self.scale is not None and self.drawn_from is not None:
            yield f"from: expected no scale beside it, found {self.scale!r}"

    def _wrong_datasets(self) -> Problems:
        for name, dataset in self.datasets.items():
            if not isinstance(dataset.source, LatentSource):
                continue
            where = f"datasets.{name}"
            images = self.datasets[dataset.source.of]
            autoencoder = self.autoencoders[dataset.source.autoencoder]
            if isinstance(images.source, LatentSource):
                yield f"{where}.source.of: expected a pixel dataset, found latents"
            elif isinstance(autoencoder, TrainedAutoencoder):
                factor = 2 ** (len(autoencoder.channels) - 1)
                sides = (side // factor for side in images.shape[1:])
                expected = (autoencoder.latent_channels, *sides)
                if dataset.shape != expected:
                    yield (
                        f"{where}.shape: expected {expected}, which autoencoder "
                        f"{dataset.source.autoencoder!r} makes of {images.shape}, found "
                        f"{dataset.shape}"
                    )

    def _wrong_runs(self) -> Problems:
        for run in self.runs:
            for problem in self._misfits(run):
                yield f"runs: {run.dataset} {run.name}: {problem}"
        for run in self.runs:
            circle = self._circle(run)
            if circle:
                yield (
                    f"runs: {run.dataset} {run.name}: a circle of teachers and starts, "
                    f"{' → '.join(circle)}"
                )

    def _misfits(self, run: Run) -> Problems:
        dataset = self.datasets[run.dataset]
        network = self.networks[self.recipes[run.recipe].network]
        factor = 2 ** (len(network.channels) - 1)
        if any(side % factor for side in dataset.shape[1:]):
            yield (
                f"network {self.recipes[run.recipe].network!r} halves the image "
                f"{len(network.channels) - 1} times, so sides must be divisible by {factor}; "
                f"dataset {run.dataset!r} is {dataset.shape[1]}×{dataset.shape[2]}"
            )
        try:
            sampling = run.complete(self.recipes[run.recipe]).sampling
        except ValidationError as error:
            yield from (problem["msg"].removeprefix("Value error, ") for problem in error.errors())
            return
        for plan in (sampling.each_snapshot, sampling.final, sampling.final_one_set):
            for name, steps in plan.items():
                yield from self._sampler_misfits(run.process, name, steps)
        entry = COUPLINGS[run.coupling.name]
        if entry.chooses_samples and "noise" not in entry.needs:
            posterior = getattr(dataset.source, "posterior", "mean")
            reason = "horizontal_flips" if dataset.horizontal_flips else "posterior sample"
            if dataset.horizontal_flips or posterior == "sample":
                yield (
                    f"{run.coupling.name} chooses among the stored samples, so it does not go "
                    f"with the {reason} of dataset {run.dataset!r}"
                )
        if not dataset.features:
            yield f"dataset {run.dataset!r} names no features, so no distance can be computed"
        for key, name in (("start", run.start), ("teacher", run.teacher)):
            if name is None:
                continue
            other = self.run(run.dataset, name)
            missing = sorted(set(run.seeds) - set(other.seeds))
            if missing:
                yield f"{key} {name!r}: expected its seeds there too, found no {missing}"
            if key == "teacher":
                options = run.coupling.options
                steps = [options["steps"]] if options.get("steps") else []
                yield from self._sampler_misfits(other.process, options["sampler"], steps)
            elif self.recipes[other.recipe].network != self.recipes[run.recipe].network:
                yield (
                    f"start {name!r}: expected a run of network "
                    f"{self.recipes[run.recipe].network!r}, found "
                    f"{self.recipes[other.recipe].network!r}"
                )

    def _sampler_misfits(self, process: Pick, name: str, steps: list[int]) -> Problems:
        solver = self.samplers[name]
        entry = PROCESSES[process.name]
        own = SOLVERS[solver.name].adaptive or "times" in solver.options
        if own == bool(steps):
            expected = "no step counts" if own else "at least one step count"
            yield f"sampler {name!r} takes {expected}, found {steps}"
        if len(set(steps)) != len(steps):
            yield f"sampler {name!r}: expected each step count once, found {steps}"
        if entry.times is not None and steps and max(steps) > entry.times:
            yield f"sampler {name!r} takes up to {entry.times} steps, found {max(steps)}"
        grid = solver.options.get("grid")
        if grid is not None and grid not in entry.grids:
            yield (
                f"sampler {name!r}: grid {grid!r} is none of {process.name}; expected one of "
                f"{sorted(set(entry.grids) & set(GRIDS))}"
            )

    def _circle(self, run: Run) -> list[str]:
        """Return the runs, by name, on a way from a run's teachers and starts back to it."""
        ways = [[run.name]]
        while ways:
            way = ways.pop()
            last = self.run(run.dataset, way[-1])
            for name in {last.start, last.teacher} - {None}:
                if name == run.name:
                    return [*way, name]
                if name not in way:
                    ways.append([*way, name])
        return []

    def _wrong_comparisons(self) -> Problems:
        for name in self._comparison_names:
            where = f"comparisons.{name}"
            entry = self.comparisons.get(name, ComparisonEntry())
            runs = self._runs_in(name)
            processes = [run.process.name for run in runs if run.name in (entry.baseline or [])]
            if len(set(processes)) != len(processes):
                yield f"{where}.baseline: expected one of a process, found {entry.baseline}"
            lone = {run.process.name for run in runs} - set(processes)
            if entry.baseline and lone:
                yield f"{where}.baseline: expected one of {sorted(lone)} too"
            for seed in entry.seeds or []:
                if not any(seed in run.seeds for run in runs):
                    yield f"{where}.seeds: no run of it has the seed {seed}"
            for run in runs:
                if entry.seeds and not set(entry.seeds) & set(run.seeds):
                    yield f"{where}.seeds: {run.name} has none of {entry.seeds}, but {run.seeds}"
            for condition, values in self._differences(runs).items():
                if condition not in entry.unequal:
                    (first, one), (second, other) = values
                    yield (
                        f"{where}: runs differ in {condition}, {first} has {one} and {second} "
                        f"{other}; a comparison that is meant so says unequal: [{condition}]"
                    )

    def _differences(self, runs: list[Run]) -> dict[Condition, list[tuple[str, Any]]]:
        """Return the conditions in which runs differ, each with two runs and their values."""
        found: dict[Condition, list[tuple[str, Any]]] = {}
        values = {run.name: self._conditions(run) for run in runs}
        for condition in CONDITIONS:
            first = runs[0].name
            for run in runs[1:]:
                if values[run.name][condition] != values[first][condition]:
                    found[condition] = [
                        (name, values[name][condition]) for name in (first, run.name)
                    ]
                    break
        return found

    def _conditions(self, run: Run) -> dict[Condition, Any]:
        recipe = run.complete(self.recipes[run.recipe])
        keys = {"each_snapshot", "final", "final_one_set", "image_sets"}
        return {
            "recipe": run.recipe,
            "budget_images": recipe.budget_images,
            "n_samples": recipe.sampling.n_samples,
            "sampling": recipe.sampling.model_dump(include=keys),
        }

    # What there is.

    @property
    def results(self) -> str:
        """Folder of all results.

        ``results``, or ``results/SCALE`` at a reduced scale, or ``results/from_reference`` of what
        is drawn from archived results.
        """
        if self.drawn_from is not None:
            return f"results/from_{self.drawn_from}"
        return "results" if self.scale is None else f"results/{self.scale}"

    def dataset(self, name: str) -> Dataset:
        """Return a dataset.

        Raises
        ------
        InputError
            If there is none of the name.
        """
        if name not in self.datasets:
            raise InputError(f"unknown dataset {name!r}; expected one of {sorted(self.datasets)}")
        return self.datasets[name]

    def pixels(self, name: str) -> str:
        """Return the dataset whose images are compared: of latents, what they were encoded from."""
        source = self.dataset(name).source
        return source.of if isinstance(source, LatentSource) else name

    @cached_property
    def _datasets_with_runs(self) -> list[str]:
        return [*dict.fromkeys(run.dataset for run in self.runs)]

    @property
    def _comparison_names(self) -> list[str]:
        return [*dict.fromkeys([*self._datasets_with_runs, *self.comparisons])]

    def runs_of(self, dataset: str) -> list[Run]:
        """Return a dataset's runs, in the order of the file.

        Raises
        ------
        InputError
            If there is none.
        """
        runs = [run for run in self.runs if run.dataset == dataset]
        if not runs:
            raise InputError(
                f"{dataset!r} has no runs; expected one of {sorted(self._datasets_with_runs)}"
            )
        return runs

    def run(self, dataset: str, name: str, seed: int | None = None) -> Run:
        """Return a run by its name, which must have the seed if one is given.

        Raises
        ------
        InputError
            If there is none, or the run does not have that seed.
        """
        runs = {run.name: run for run in self.runs_of(dataset)}
        if name not in runs:
            raise InputError(f"{dataset} has no run {name!r}; expected one of {sorted(runs)}")
        if seed is not None and seed not in runs[name].seeds:
            raise InputError(
                f"runs: {dataset} {name} declares the seeds {runs[name].seeds}, not {seed}"
            )
        return runs[name]

    @cached_property
    def all_comparisons(self) -> dict[str, Comparison]:
        """Every comparison by its name: one for each dataset with runs, and those declared."""
        return {name: self._comparison(name) for name in self._comparison_names}

    def comparison(self, name: str) -> Comparison:
        """Return a comparison by its name.

        Raises
        ------
        InputError
            If there is none.
        """
        if name not in self.all_comparisons:
            raise InputError(
                f"unknown comparison {name!r}; expected one of {sorted(self.all_comparisons)}"
            )
        return self.all_comparisons[name]

    def _runs_in(self, comparison: str) -> list[Run]:
        entry = self.comparisons.get(comparison, ComparisonEntry())
        runs = self.runs_of(entry.dataset or comparison)
        return runs if entry.runs is None else [self.run(runs[0].dataset, n) for n in entry.runs]

    def _comparison(self, name: str) -> Comparison:
        entry = self.comparisons.get(name, ComparisonEntry())
        runs = self._runs_in(name)
        chosen = [run for run in runs if run.name in (entry.baseline or [])] or runs
        baselines: dict[str, str] = {}
        for run in chosen:
            baselines.setdefault(run.process.name, run.name)
        most = None if self.scale is None else self.scales[self.scale].seeds
        return Comparison(
            name=name,
            dataset=runs[0].dataset,
            runs=[run.name for run in runs],
            baselines=baselines,
            seeds={
                run.name: [s for s in run.seeds if s in (entry.seeds or run.seeds)][:most]
                for run in runs
            },
            unequal=[condition for condition in CONDITIONS if condition in self._differences(runs)],
            figures=entry.figures,
        )

    def claims_of(self, comparison: str) -> list[Claim]:
        """Return the claims that a comparison says something of.

        Those about distances are of every comparison that has their runs; the others are of what is
        measured of a dataset, and so of the dataset's own comparison.
        """
        found = self.comparison(comparison)

        def is_said(claim: Claim) -> bool:
            if claim.comparisons is not None and comparison not in claim.comparisons:
                return False
            if isinstance(claim.measure, DistanceMeasure):
                return set(claim.measure.runs_named) <= set(found.runs)
            return found.is_default

        return [claim for claim in self.claims if is_said(claim)]

    # What a run is.

    def run_settings(self, run: Run, seed: int) -> RunSettings:
        """Resolve a run and a seed into all that training needs."""
        dataset, recipe = self.datasets[run.dataset], run.complete(self.recipes[run.recipe])
        taken = {"batch_size", "learning_rate", "ema_decay", "gradient_clip", "mixed_precision"}
        taken |= {"channels_last", "compile", "budget_images", "snapshots"}
        # Pairs of a teacher are as it made them.
        given = "noise" in COUPLINGS[run.coupling.name].needs
        return RunSettings(
            dataset=run.dataset,
            shape=dataset.shape,
            horizontal_flips=dataset.horizontal_flips and not given,
            process=run.process,
            coupling=run.coupling,
            times=run.times,
            loss=run.loss,
            start=run.start,
            seed=seed,
            network=self.networks[recipe.network],
            **{key: getattr(recipe, key) for key in taken},
        )

    def sampling(self, run: Run) -> Sampling:
        """Return how a run's snapshots are sampled."""
        sampling = run.complete(self.recipes[run.recipe]).sampling
        samplers = {name: self.samplers[name] for name in sorted(sampling.names)}
        return sampling.model_copy(update={"samplers": samplers})

    def latent_shapes(self, autoencoder: str) -> dict[str, tuple[Shape, Shape]]:
        """Return, by latent dataset of an autoencoder, the shapes of its images and latents."""
        return {
            name: (self.datasets[dataset.source.of].shape, dataset.shape)
            for name, dataset in self.datasets.items()
            if isinstance(dataset.source, LatentSource)
            and dataset.source.autoencoder == autoencoder
        }


def _has_published_files(kind: str) -> bool:
    return kind in SOURCES and SOURCES[kind].files
