"""Look-ups about runs, couplings and noise-sample pairs; see `Lookups`."""

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from typing import Any

from dansm.catalogue import COUPLINGS, PROCESSES, Pick
from dansm.config import Comparison, ModelFolder, NoiseSamplePairs, Pipeline, Run, Sampling
from dansm.errors import InputError
from dansm.io.model_folder import WEIGHTS, check_model_folder
from dansm.processes.grids import grid_options, is_searched
from dansm.workflow.data_lookups import DataLookups, Wildcards

Resources = dict[str, Callable[[Wildcards], Any]]


def pairs_name(coupling: Pick) -> str:
    """Return the name of the store of a teacher's pairs: ``rk45-8192``."""
    options = coupling.options
    more = [f"{key}{options[key]}" for key in ("states", "inverted") if options.get(key)]
    parts = (options["sampler"], options.get("steps"), options["count"], *more)
    return "-".join(str(part) for part in parts if part)


class RunLookups(DataLookups):
    """What rules about runs, and about what they need, ask the configuration."""

    def folder(self, run: Run, seed: int) -> str:
        """Return the folder of a run of a seed."""
        return f"{self.results}/runs/{run.dataset}/{run.name}/seed{seed}"

    def evaluation(self, run: Run, seed: int, comparison: Comparison) -> str:
        """Return the folder of what a comparison measures of a run: the run's, or one for it."""
        own = "" if comparison.sampling is None else f"/sampled/{comparison.name}"
        return f"{self.folder(run, seed)}{own}"

    def needs_potentials(self, run: Run) -> bool:
        """Return whether a run's coupling needs potentials."""
        return "potentials" in COUPLINGS[run.coupling.name].needs

    def potentials(self, run: Run) -> str:
        """Return the file of the potentials of a run's coupling."""
        return f"{self.results}/potentials/{run.dataset}/{run.coupling.slug}.npz"

    def gpus(self, count: Callable[[Wildcards], int]) -> Resources:
        """Return the resources, in the cluster's form, that ask for as many GPUs as are counted."""

        def resource(name: str) -> Callable[[Wildcards], Any]:
            return lambda wildcards: self.config.cluster.request(count(wildcards))[name]

        return {name: resource(name) for name in self.config.cluster.request(0)}

    def resources(self, run_of: Callable[[Wildcards], Run], gpus: int | None = 1) -> Resources:
        """Return the resources that the recipe of a run gives, with no more GPUs than that."""

        def hardware(wildcards: Wildcards) -> Any:
            return self.config.recipes[run_of(wildcards).recipe].hardware

        def count(wildcards: Wildcards) -> int:
            asked = hardware(wildcards).gpu
            return asked if gpus is None else min(asked, gpus)

        return self.gpus(count) | {
            "mem_mb": lambda wildcards: hardware(wildcards).mem_mb,
            "runtime": lambda wildcards: hardware(wildcards).runtime,
        }

    # A run.

    def run(self, wildcards: Wildcards) -> Run:
        """Return the run of the wildcards, whose seed it must declare."""
        return self.config.run(wildcards.dataset, wildcards.run, int(wildcards.seed))

    def threads(self, wildcards: Wildcards) -> int:
        """Return the threads of a run's jobs."""
        return self.config.recipes[self.run(wildcards).recipe].hardware.threads

    def processes(self, wildcards: Wildcards) -> int:
        """Return the processes that share a run's batches."""
        return max(1, self.config.recipes[self.run(wildcards).recipe].hardware.gpu)

    def settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what a run is."""
        return self._settings(self.run(wildcards), int(wildcards.seed))

    def _settings(self, run: Run, seed: int) -> dict[str, Any]:
        # In order of the names: for Snakemake, settings in another order are others.
        return json.loads(self.config.run_settings(run, seed).canonical_json())

    def sampling(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return how a run's snapshots are sampled."""
        return self._sampling(wildcards).plain()

    def _sampling(self, wildcards: Wildcards) -> Sampling:
        """Return the same; where a comparison is named, as it samples its runs itself."""
        own, name = None, getattr(wildcards, "comparison", None)
        if name is not None:
            own = self.config.comparison(name).sampling
            if own is None:
                raise InputError(f"comparisons.{name}: expected its own sampling, found none")
        return self.config.sampling(self.run(wildcards), own)

    def searched(self, wildcards: Wildcards) -> list[str]:
        """Return the files of the time grids that are searched for a run's sampling."""
        run, sampling = self.run(wildcards), self._sampling(wildcards)
        process = PROCESSES[run.process.name]
        folder = f"{self.results}/grids/{run.dataset}/{run.name}/seed{wildcards.seed}"
        found = {
            f"{folder}/{grid_options(process, solver)['grid']}-{steps}.json": None
            for name, solver in sampling.samplers.items()
            if is_searched(process, solver)
            for plan in sampling.plans
            for steps in plan.get(name, [])
        }
        return [*found]

    def search_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what a search of a time grid may take."""
        return self.config.grid_search.model_dump(mode="json")

    def search_reference(self, wildcards: Wildcards) -> list[str]:
        """Return the features of training images that a search compares with, if it does."""
        names = self.search_extractors(wildcards)
        return [self._features(wildcards.dataset, "training", f"{name}.npz") for name in names]

    def search_extractors(self, wildcards: Wildcards) -> list[str]:
        """Return over which features."""
        return self.extractors(wildcards)[:1] if wildcards.grid == "evolved" else []

    def search_weights(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the weights that these need."""
        return self._weights(wildcards.dataset, self.search_extractors(wildcards))

    def training_inputs(self, wildcards: Wildcards) -> dict[str, str]:
        """Return what a run is trained on: potentials, a teacher's pairs, weights to begin with."""
        return self.before(self.run(wildcards), int(wildcards.seed))

    def before(self, run: Run, seed: int) -> dict[str, str]:
        """Return the same of a run and a seed."""
        inputs = {}
        if self.needs_potentials(run):
            inputs["potentials"] = self.potentials(run)
        if run.teacher is not None:
            place = f"{self.results}/pairs/{run.dataset}/{run.teacher}/seed{seed}"
            inputs["pairs"] = f"{place}/{pairs_name(run.coupling)}"
        for key in run.before.keys() - {"teacher"}:  # whose pairs it needs, not its model
            other = self.config.run(run.dataset, run.before[key], seed)
            inputs[key] = f"{self.folder(other, seed)}/model.safetensors"
        if isinstance(run.start, ModelFolder):
            network = self.config.networks[self.config.recipes[run.recipe].network]
            shape = self.config.datasets[run.dataset].shape
            check_model_folder(run.start.folder, network, shape)
            inputs["start"] = str(run.start.folder / WEIGHTS)
        return inputs

    # Potentials and pairs of teachers.

    def potentials_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return how potentials are fitted."""
        runs = self.config.runs_of(wildcards.dataset)
        fitted = {run.coupling.slug: run.coupling for run in runs if self.needs_potentials(run)}
        if wildcards.potentials not in fitted:
            raise InputError(
                f"{wildcards.dataset}: no run needs potentials {wildcards.potentials!r}; expected "
                f"one of {sorted(fitted)}"
            )
        fit = self.config.dataset(wildcards.dataset).potentials or self.config.potentials
        return fit.plain() | dict(fitted[wildcards.potentials].options)

    def teacher(self, wildcards: Wildcards) -> Run:
        """Return the run whose model makes pairs."""
        return self.config.run(wildcards.dataset, wildcards.teacher, int(wildcards.seed))

    def teacher_model(self, wildcards: Wildcards) -> str:
        """Return that model."""
        folder = self.folder(self.teacher(wildcards), int(wildcards.seed))
        return f"{folder}/model.safetensors"

    def teacher_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what that run is."""
        return self._settings(self.teacher(wildcards), int(wildcards.seed))

    def pairs_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return how a teacher's pairs are made."""
        taught = {
            pairs_name(run.coupling): run.coupling.options
            for run in self.config.runs_of(wildcards.dataset)
            if run.teacher == wildcards.teacher and int(wildcards.seed) in run.seeds
        }
        if wildcards.pairs not in taught:
            raise InputError(
                f"{wildcards.dataset} {wildcards.teacher}, seed {wildcards.seed}: no run is taught "
                f"by its pairs {wildcards.pairs!r}; expected one of {sorted(taught)}"
            )
        options = taught[wildcards.pairs]
        sampler = asdict(self.config.samplers[options["sampler"]])
        numbers = ("steps", "count", "states", "inverted")
        return {"sampler": sampler} | {key: options.get(key, 0) for key in numbers}

    def inverted_images(self, wildcards: Wildcards) -> str | list[str]:
        """Return the store of the images that are inverted, if any are."""
        return self.store(wildcards) if self.pairs_settings(wildcards)["inverted"] else []

    # What couplings do and cost.

    def _marginal_runs(self) -> dict[Pick, Run]:
        """Return the couplings whose marginals are measured, each with a run that has it."""
        comparison = self.config.comparison(self.config.coupling_marginals.comparison)
        runs = [self.config.run(comparison.dataset, name) for name in comparison.runs]
        return {run.coupling: run for run in runs if run.teacher is None}

    def marginal_inputs(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the store, and the potentials that these couplings need."""
        runs = self._marginal_runs().values()
        potentials = [self.potentials(run) for run in runs if self.needs_potentials(run)]
        dataset = next(iter(runs)).dataset
        return {"store": f"{self.results}/data/{dataset}", "potentials": potentials}

    def marginal_couplings(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return these couplings with the files of their potentials."""
        return [
            {
                "coupling": asdict(coupling),
                "potentials": self.potentials(run) if self.needs_potentials(run) else None,
            }
            for coupling, run in self._marginal_runs().items()
        ]

    def marginal_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return how many of their pairs are drawn, and on which dataset."""
        settings = self.config.coupling_marginals
        dataset = self.config.comparison(settings.comparison).dataset
        return settings.model_dump(exclude={"comparison"}) | {"dataset": dataset}

    def timed_run(self, wildcards: Wildcards) -> Run:
        """Return the run with whose training steps matching is compared: the dataset's first."""
        return self.config.runs_of(wildcards.dataset)[0]

    def timed_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what that run is."""
        run = self.timed_run(wildcards)
        return self._settings(run, run.seeds[0])

    def training_threads(self, wildcards: Wildcards) -> int:
        """Return the threads of its training."""
        return self.config.recipes[self.timed_run(wildcards).recipe].hardware.threads

    def timed_threads(self, wildcards: Wildcards) -> int:
        """Return two at least: nobody is to disturb the thread that matches ahead."""
        return max(2, self.training_threads(wildcards))

    # Noise-sample pairs.

    def noise_sample_pairs(self, dataset: str) -> NoiseSamplePairs:
        """Return what is compared of a dataset's noise-sample pairs.

        Raises
        ------
        InputError
            If that is nothing.
        """
        known = self.config.noise_sample_pairs
        if dataset not in known:
            raise InputError(
                f"noise_sample_pairs: no entry for {dataset!r}; expected one of {sorted(known)}"
            )
        return known[dataset]

    @cached_property
    def pipelines(self) -> list[str]:
        """Names of noise-sample pairs that a pipeline makes."""
        return [name for name, one in self.config.noise_sample_pairs.items() if one.pipeline]

    def pipeline(self, wildcards: Wildcards) -> str:
        """Return the folder of the pipeline that makes them."""
        return f"{self.results}/pipelines/{wildcards.dataset}"

    def pipeline_published(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return where it is published, which must be a folder or a commit."""
        settings = self._pipeline(wildcards.dataset)
        settings.is_folder("the folder of a diffusers pipeline")
        return settings.model_dump(include={"name", "revision"})

    def pipeline_shape(self, wildcards: Wildcards) -> list[int]:
        """Return the shape of its latents."""
        return list(self._pipeline(wildcards.dataset).shape)

    def pipeline_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return how its pairs are made."""
        pairs, keys = self.noise_sample_pairs(wildcards.dataset), {"steps", "guidance_scale"}
        settings = self._pipeline(wildcards.dataset).model_dump(include=keys | {"batch_size"})
        return settings | {"count": pairs.draws * pairs.count}

    def prompts(self, wildcards: Wildcards) -> list[str]:
        """Return its prompts, at least as many as samples of a draw, which has none twice."""
        path = self._pipeline(wildcards.dataset).prompts
        least = self.noise_sample_pairs(wildcards.dataset).count
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: expected a text file of prompts, found {' '.join(str(error).split())}"
            ) from None
        prompts = [line for line in lines if line and not line.startswith("#")]
        if len(set(prompts)) < max(least, len(prompts)):
            raise InputError(
                f"{path}: expected at least {least} prompts, a line each and none twice, as many "
                f"as samples of a draw, found {len(prompts)}, of which {len(set(prompts))} differ"
            )
        return prompts

    def pipeline_gpus(self, wildcards: Wildcards) -> int:
        """Return a GPU, but none for a pipeline made here."""
        return int(self.config.scale is None)

    def _pipeline(self, name: str) -> Pipeline:
        pairs = self.noise_sample_pairs(name)
        if pairs.pipeline is None:
            raise InputError(
                f"noise_sample_pairs.{name}: no pipeline makes them; expected one of "
                f"{self.pipelines}"
            )
        return pairs.pipeline

    def pair_shape(self, dataset: str) -> tuple[int, int, int]:
        """Return the shape of samples whose noises are compared."""
        pipeline = self.noise_sample_pairs(dataset).pipeline
        return pipeline.shape if pipeline else self.config.dataset(dataset).shape

    def generating_runs(self, dataset: str) -> list[Run]:
        """Return the run that generates the samples, and the one whose loss is beside its."""
        pairs = self.noise_sample_pairs(dataset)
        return [self.config.run(dataset, name) for name in (pairs.run, pairs.matched_run) if name]

    def draw_inputs(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return the models that generate samples, a pipeline's pairs, or the store they are of."""
        if wildcards.dataset in self.pipelines:
            return {"pairs": f"{self.results}/pairs/{wildcards.dataset}"}
        runs = self.draw_runs(wildcards)
        models = [f"{run['folder']}/model.safetensors" for run in runs]
        return {"models": models} if models else {"store": self.store(wildcards)}

    def pair_settings(self, *names: str) -> Callable[[Wildcards], dict[str, Any]]:
        """Return the look-up of some settings of a dataset's pairs."""

        def settings(wildcards: Wildcards) -> dict[str, Any]:
            return self.noise_sample_pairs(wildcards.dataset).model_dump(include={*names})

        return settings

    def draw_runs(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return the run whose models generate samples, if there is one, once for each seed."""
        pairs = self.noise_sample_pairs(wildcards.dataset)
        if pairs.run is None:
            return []
        run = self.config.run(wildcards.dataset, pairs.run)
        seeds = [seed for seed in run.seeds if seed in (pairs.seeds or run.seeds)]
        return [self._trained(run, seed) for seed in seeds]

    def _models(self, dataset: str) -> list[str]:
        runs = self.generating_runs(dataset)
        return [f"{self.folder(run, run.seeds[0])}/model.safetensors" for run in runs]

    def loss_models(self, wildcards: Wildcards) -> list[str]:
        """Return the models whose loss over time is measured."""
        models = self._models(wildcards.dataset)
        if not models:
            raise InputError(
                f"noise_sample_pairs.{wildcards.dataset}: no run, so there is no loss over time"
            )
        return models

    def loss_runs(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return the runs whose models these are."""
        runs = self.generating_runs(wildcards.dataset)
        return [self._trained(run, run.seeds[0]) for run in runs]

    def _trained(self, run: Run, seed: int) -> dict[str, Any]:
        return {
            "name": run.name,
            "settings": self._settings(run, seed),
            "folder": self.folder(run, seed),
            "batch_size": self.config.sampling(run).batch_size,
        }

    def loss_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return on what their loss is measured."""
        pairs = self.noise_sample_pairs(wildcards.dataset)
        found = {"count": pairs.count, "match_size": pairs.match_sizes[-1]}
        return found | {"bins": pairs.time_bins, "seed": pairs.seed}

    def _pair_hardware(self, wildcards: Wildcards) -> Any:
        runs = self.generating_runs(wildcards.dataset)
        return self.config.recipes[runs[0].recipe].hardware if runs else None

    def pair_gpus(self, wildcards: Wildcards) -> int:
        """Return a GPU where a model that has one generates samples."""
        hardware = self._pair_hardware(wildcards)
        return min(1, hardware.gpu) if hardware else 0

    def pair_memory(self, wildcards: Wildcards) -> int:
        """Return the memory of jobs with pairs in MB."""
        hardware = self._pair_hardware(wildcards)
        return max(8000, hardware.mem_mb if hardware else 0)
