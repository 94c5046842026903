"""The whole of the configuration, and what follows from it about runs and comparisons."""

from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from dansm.catalogue import COUPLINGS, METRICS
from dansm.config.base import (
    Expanded,
    Folder,
    Model,
    Name,
    Names,
    Sha256,
    Shape,
    SolverPick,
    distinct,
    name_of,
)
from dansm.config.checks import problems_of
from dansm.config.claims import Claim, DistanceMeasure, Saving
from dansm.config.cluster import Cluster
from dansm.config.comparisons import (
    CONDITIONS,
    Comparison,
    ComparisonEntry,
    Condition,
    OwnSampling,
)
from dansm.config.datasets import (
    PARTS,
    Autoencoder,
    Classifier,
    Dataset,
    LatentSource,
    Part,
    PotentialsFit,
)
from dansm.config.measurements import (
    BestOfK,
    CouplingMarginals,
    MatchingCost,
    MatchingShare,
    NoiseSamplePairs,
    Straightness,
)
from dansm.config.runs import (
    Method,
    ModelFolder,
    Network,
    Recipe,
    Run,
    RunSettings,
    Sampling,
    Training,
    expand_runs,
)
from dansm.config.scale import Scale
from dansm.config.searches import GridSearch
from dansm.errors import InputError

# The weights that clean-fid and StyleGAN's metrics use.
INCEPTION_FILE = "inception-2015-12-05.pt"
INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"

# Its halves are compared, by the third neighbour of each image too.
_LEAST_IMAGES = 8
T = TypeVar("T")
# Those that accelerate knows, by its names.
_TRACKERS = (
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
)
Tracker = name_of("tracker", _TRACKERS)
Address = Annotated[Expanded, Field(pattern=r"^(https?://[^/]|file:.)")]


class Config(Model):
    """The whole of ``config/config.yaml``."""

    datasets: dict[Name, Dataset]
    autoencoders: dict[Name, Autoencoder] = Field(default={})
    classifiers: dict[Name, Classifier] = Field(
        default={}, description="By the dataset they learn; for its feature classifier"
    )
    potentials: PotentialsFit
    inception_weights: Folder | None = Field(
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
    runs: Annotated[list[Run], Field(min_length=1), BeforeValidator(expand_runs)]
    comparisons: dict[Name, ComparisonEntry] = Field(
        default={}, description="Beside one for each dataset with runs, of its name"
    )
    noise_sample_pairs: dict[Name, NoiseSamplePairs] = Field(default={})
    best_of_k: BestOfK
    coupling_marginals: CouplingMarginals
    matching_cost: MatchingCost
    matching_share: MatchingShare
    grid_search: GridSearch = GridSearch()
    straightness: Straightness = Straightness()
    claims: list[Claim] = Field(default=[])
    targets: dict[Name, Names] = Field(
        default={}, description="Comparisons that are made together with all that belongs to them"
    )
    report: Annotated[list[Name], AfterValidator(distinct)] = Field(
        default=[], description="Comparisons of report.zip and crate.zip"
    )
    cluster: Cluster = Cluster()
    trackers: Annotated[list[Tracker], AfterValidator(distinct)] = Field(
        default=["tensorboard"], description="Which show the progress of training; none: []"
    )
    scales: dict[Name, Scale] = Field(default={})
    scale: Name | None = Field(default=None, description="One of scales; none: full size")
    drawn_from: Literal["reference"] | None = Field(
        default=None, alias="from", description="Figures of archived results; none: of own runs"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        problems = problems_of(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self

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
        return _named(name, self.datasets, "unknown dataset {}")

    def pixels(self, name: str) -> str:
        """Return the dataset whose images are compared: of latents, what they were encoded from."""
        source = self.dataset(name).source
        return source.of if isinstance(source, LatentSource) else name

    def parts(self, name: str) -> tuple[Part, ...]:
        """Return the parts of a dataset's images, or of those its latents were encoded from."""
        return PARTS if self.dataset(self.pixels(name)).held_out else PARTS[:1]

    def reference(self, name: str) -> Part:
        """Return with which of these verdicts compare generated images."""
        return self.dataset(self.pixels(name)).reference or self.parts(name)[-1]

    def least_images(self, name: str) -> int:
        """Return how many images a dataset needs for the distances of itself or its latents."""
        of_images = [one for key, one in self.datasets.items() if self.pixels(key) == name]
        return _LEAST_IMAGES if any(one.features for one in of_images) else 1

    @cached_property
    def _runs(self) -> dict[str, dict[str, Run]]:
        """Runs by their names, by dataset."""
        runs: dict[str, dict[str, Run]] = {}
        for run in self.runs:
            runs.setdefault(run.dataset, {})[run.name] = run
        return runs

    def runs_of(self, dataset: str) -> list[Run]:
        """Return a dataset's runs, in the order of the file.

        Raises
        ------
        InputError
            If there is none.
        """
        return [*_named(dataset, self._runs, "{} has no runs").values()]

    def run(self, dataset: str, name: str, seed: int | None = None) -> Run:
        """Return a run by its name, which must have the seed if one is given.

        Raises
        ------
        InputError
            If there is none, or the run does not have that seed.
        """
        runs = _named(dataset, self._runs, "{} has no runs")
        run = _named(name, runs, f"{dataset} has no run {{}}")
        if seed is not None and seed not in run.seeds:
            raise InputError(f"runs: {dataset} {name} declares the seeds {run.seeds}, not {seed}")
        return run

    @property
    def comparison_names(self) -> list[str]:
        """Names of all comparisons: the datasets with runs, and those declared."""
        return [*dict.fromkeys([*self._runs, *self.comparisons])]

    def compared(self, comparison: str) -> list[Run]:
        """Return the runs of a comparison."""
        entry = self.comparisons.get(comparison, ComparisonEntry())
        dataset = entry.dataset or comparison
        if entry.runs is None:
            return self.runs_of(dataset)
        return [self.run(dataset, name) for name in entry.runs]

    def differences(self, comparison: str) -> dict[Condition, list[tuple[str, Any]]]:
        """Return in what a comparison's runs differ, each with two runs and their values."""
        found: dict[Condition, list[tuple[str, Any]]] = {}
        runs = self.compared(comparison)
        entry = self.comparisons.get(comparison, ComparisonEntry())
        first = self._conditions(runs[0], entry.sampling)
        for run in runs[1:]:
            for condition, value in self._conditions(run, entry.sampling).items():
                if value != first[condition]:
                    pair = [(runs[0].name, first[condition]), (run.name, value)]
                    found.setdefault(condition, pair)
        return found

    def _conditions(self, run: Run, own: OwnSampling | None) -> dict[Condition, Any]:
        recipe = run.complete(self.recipes[run.recipe])
        keys = {"image_sets"}
        if own is None:
            keys |= {"each_snapshot", "final", "final_one_set"}
        return {
            "recipe": run.recipe,
            "budget_images": recipe.budget_images,
            "n_samples": recipe.sampling.n_samples,
            "sampling": recipe.sampling.model_dump(include=keys),
        }

    @cached_property
    def all_comparisons(self) -> dict[str, Comparison]:
        """Every comparison by its name: one for each dataset with runs, and those declared."""
        return {name: self._comparison(name) for name in self.comparison_names}

    def _comparison(self, name: str) -> Comparison:
        entry = self.comparisons.get(name, ComparisonEntry())
        runs = self.compared(name)
        baselines: dict[str, str] = {}
        for run in runs:
            if entry.baseline is None or run.name in entry.baseline:
                baselines.setdefault(run.process.text, run.name)
        most = None if self.scale is None else self.scales[self.scale].seeds
        differences = self.differences(name)
        return Comparison(
            name=name,
            dataset=runs[0].dataset,
            runs=[run.name for run in runs],
            baselines=baselines,
            seeds={
                run.name: [s for s in run.seeds if s in (entry.seeds or run.seeds)][:most]
                for run in runs
            },
            sampling=entry.sampling,
            unequal=[condition for condition in CONDITIONS if condition in differences],
            figures=entry.figures,
            in_all=entry.in_all,
        )

    def comparison(self, name: str) -> Comparison:
        """Return a comparison by its name.

        Raises
        ------
        InputError
            If there is none.
        """
        return _named(name, self.all_comparisons, "unknown comparison {}")

    def claims_of(self, comparison: str) -> list[Claim]:
        """Return the claims that a comparison says something of.

        Those about distances are of every comparison that has their runs, on memorising only where
        images are held out; the others are of what is measured of a dataset, and so of the
        dataset's own comparison.
        """
        found = self.comparison(comparison)
        # What its runs do not sample, though they would by their recipes, it says nothing of.
        limited = found.sampling is not None or (
            self.scale is not None and self.scales[self.scale].steps is not None
        )

        def is_said(claim: Claim) -> bool:
            if claim.comparisons is not None and comparison not in claim.comparisons:
                return False
            if isinstance(claim.measure, DistanceMeasure):
                apart = METRICS[claim.measure.metric].memorising
                if apart and "held_out" not in self.parts(found.dataset):
                    return False
                named = claim.measure.runs_named
                if not set(named) <= set(found.runs):
                    return False
                return not limited or all(self._samples(found, n, claim.measure) for n in named)
            return found.is_default

        return [claim for claim in self.claims if is_said(claim)]

    def _samples(self, comparison: Comparison, run: str, measure: DistanceMeasure) -> bool:
        sampling = self.sampling(self.run(comparison.dataset, run), comparison.sampling)
        return sampling.measures(measure.sampler, measure.steps, isinstance(measure, Saving))

    def run_settings(self, run: Run, seed: int) -> RunSettings:
        """Resolve a run and a seed into all that training needs."""
        dataset, recipe = self.datasets[run.dataset], run.complete(self.recipes[run.recipe])
        # Pairs of a teacher are as it made them.
        given = "noise" in COUPLINGS[run.coupling.name].needs
        method = {key: getattr(run, key) for key in Method.model_fields}
        if isinstance(run.start, ModelFolder):
            # Not where it lies: what is in it is an input.
            method["start"] = ModelFolder(folder=run.start.name)
        return RunSettings(
            dataset=run.dataset,
            shape=dataset.shape,
            horizontal_flips=dataset.horizontal_flips and not given,
            seed=seed,
            network=self.networks[recipe.network],
            **method,
            **{key: getattr(recipe, key) for key in Training.model_fields},
        )

    def sampling(self, run: Run, own: OwnSampling | None = None) -> Sampling:
        """Return how a run's snapshots are sampled, or by a comparison's own plan its last one."""
        sampling = run.complete(self.recipes[run.recipe]).sampling
        if own is not None:
            plans = {"final": own.final, "final_one_set": own.final_one_set, "each_snapshot": {}}
            sampling = sampling.model_copy(update=plans)
        samplers = {name: self.samplers[name] for name in sorted({*chain(*sampling.plans)})}
        return sampling.model_copy(update={"samplers": samplers})

    def latent_shapes(self, autoencoder: str) -> dict[str, tuple[Shape, Shape]]:
        """Return, by latent dataset of an autoencoder, the shapes of its images and latents."""
        return {
            name: (self.datasets[dataset.source.of].shape, dataset.shape)
            for name, dataset in self.datasets.items()
            if isinstance(dataset.source, LatentSource)
            and dataset.source.autoencoder == autoencoder
        }


def _named(name: str, known: Mapping[str, T], otherwise: str) -> T:
    if name not in known:
        raise InputError(f"{otherwise.format(repr(name))}; expected one of {sorted(known)}")
    return known[name]
