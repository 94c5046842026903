"""Look-ups: what the workflow's rules and targets ask the configuration.

Rules name methods of `Lookups` as functions of Snakemake's wildcards; `workflow/rules/common.smk`
lists these.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dansm.catalogue import EXTRACTORS
from dansm.config import Comparison, Config, LatentSource, Run
from dansm.errors import InputError
from dansm.figures.notebooks import FigureNotebook
from dansm.workflow.data_lookups import FOLDERS, Wildcards
from dansm.workflow.run_lookups import RunLookups


class Lookups(RunLookups):
    """All look-ups.

    Parameters
    ----------
    config
        The configuration.
    notebooks
        Those of figures, by name.

    Raises
    ------
    InputError
        If a comparison names a figure that no notebook draws of comparisons or of datasets.
    """

    def __init__(self, config: Config, notebooks: Mapping[str, FigureNotebook]) -> None:
        super().__init__(config)
        self.notebooks = notebooks
        known = sorted(name for name, one in notebooks.items() if one.of != "nothing")
        for comparison, entry in config.comparisons.items():
            for name in entry.figures or []:
                if name not in known:
                    raise InputError(
                        f"comparisons.{comparison}.figures: unknown {name!r}; expected some of "
                        f"{known}"
                    )

    # A comparison.

    def comparison(self, wildcards: Wildcards) -> Comparison:
        """Return the comparison of the wildcards."""
        return self.config.comparison(wildcards.comparison)

    def runs_in(self, comparison: Comparison) -> list[tuple[Run, int]]:
        """Return the runs of a comparison, once for each seed."""
        runs = [self.config.run(comparison.dataset, name) for name in comparison.runs]
        return [(run, seed) for run in runs for seed in comparison.seeds[run.name]]

    def folders(self, wildcards: Wildcards) -> list[str]:
        """Return the folders of these."""
        return [self.folder(*one) for one in self.runs_in(self.comparison(wildcards))]

    def run_tables(self, wildcards: Wildcards) -> list[str]:
        """Return the files in them that a table of distances is made from."""
        names = ("run.json", "stats.jsonl")
        files = [f"{one}/{name}" for one in self.folders(wildcards) for name in names]
        return files + self.measured(wildcards)

    def run_files(self, wildcards: Wildcards) -> list[str]:
        """Return the descriptions of the runs in a comparison."""
        return [f"{one}/run.json" for one in self.folders(wildcards)]

    def measured(self, wildcards: Wildcards) -> list[str]:
        """Return the tables of distances of the runs in a comparison."""
        comparison = self.comparison(wildcards)
        return [
            f"{self.evaluation(*one, comparison)}/distances.csv" for one in self.runs_in(comparison)
        ]

    def fitted(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the potentials that the runs need, by the slug of the coupling."""
        runs = [run for run, _ in self.runs_in(self.comparison(wildcards))]
        return {r.coupling.slug: self.potentials(r) for r in runs if self.needs_potentials(r)}

    def fitted_files(self, wildcards: Wildcards) -> list[str]:
        """Return the files of these."""
        return [*self.fitted(wildcards).values()]

    def real_tables(self, wildcards: Wildcards) -> list[str]:
        """Return the distances of halves of the real images, and of reconstructions."""
        dataset, folder = self.comparison(wildcards).dataset, f"{self.results}/features"
        names, pixels = self.config.datasets[dataset].features, self.config.pixels(dataset)
        tables = [
            self._features(dataset, part, f"{name}.floor.csv")
            for name in names
            for part in self.config.parts(dataset)
        ]
        if dataset != pixels:
            tables += [f"{folder}/{dataset}/{name}.reconstruction.csv" for name in names]
        if pixels in self.with_held_out:
            tables.append(f"{folder}/{pixels}/held_out.csv")
        return tables

    def compared_dataset(self, wildcards: Wildcards) -> str:
        """Return the dataset of the comparison."""
        return self.comparison(wildcards).dataset

    def conditions(self, wildcards: Wildcards) -> dict[str, Any]:
        """Return what the table of distances says of the comparison."""
        return self.comparison(wildcards).model_dump(include={"dataset", "baselines", "unequal"})

    def models(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return the runs whose images of the same noises are compared, and which images."""
        models = []
        comparison = self.comparison(wildcards)
        for run, seed in self.runs_in(comparison):
            sampler, steps = self.config.sampling(run, comparison.sampling).longest
            models.append(
                {
                    "run": run.name,
                    "process": run.process.text,
                    "coupling": run.coupling.name,
                    "match_size": run.coupling.options.get("match_size", 0),
                    "seed": seed,
                    "path": f"{self.evaluation(run, seed, comparison)}/samples.npz",
                    "sampler": sampler,
                    "steps": steps,
                }
            )
        return models

    def samples(self, wildcards: Wildcards) -> list[str]:
        """Return the files of these images."""
        return [model["path"] for model in self.models(wildcards)]

    def claims(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return the claims that the comparison says something of."""
        claims = self.config.claims_of(wildcards.comparison)
        if not claims:
            raise InputError(f"claims: none is about the runs of {wildcards.comparison!r}")
        return [claim.plain() for claim in claims]

    def claim_inputs(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the tables by which they are judged: of a dataset by its own comparison only."""
        comparison = self.comparison(wildcards)
        kinds = {kind: comparison.name for kind in ("summary", "speed", "reproducibility")}
        if comparison.is_default:
            kinds |= dict.fromkeys(("paths", "crossings", "matching_share"), comparison.dataset)
        made = self._tables("comparison", comparison.name)
        tables = {kind: f"{self.results}/{kind}_{of}.csv" for kind, of in kinds.items()}
        return {kind: table for kind, table in tables.items() if table in made}

    def claim_settings(self, wildcards: Wildcards) -> dict[str, str]:
        """Return of which dataset, over whose features and to which images distances are."""
        dataset = self.comparison(wildcards).dataset
        extractor = self.config.dataset(dataset).features[0]
        reference = self.config.reference(dataset)
        return {"dataset": dataset, "extractor": extractor, "reference": reference}

    # Tables.

    def _paths(self, names: Iterable[str]) -> list[str]:
        return [f"{self.results}/{name}" for name in names]

    @cached_property
    def _datasets_with_runs(self) -> list[str]:
        return [one.dataset for one in self.config.all_comparisons.values() if one.is_default]

    @cached_property
    def with_fid(self) -> list[str]:
        """Comparisons by FID, or by what stands for it at a reduced scale."""
        comparisons = self.config.all_comparisons.values()
        features = {one.name: self.config.datasets[one.dataset].features for one in comparisons}
        return [n for n in features if any(EXTRACTORS[f].fid_or_standin for f in features[n])]

    @cached_property
    def with_memorising(self) -> list[str]:
        """Comparisons whose images are compared with held-out ones."""
        comparisons = self.config.all_comparisons.values()
        pixels = {one.name: self.config.pixels(one.dataset) for one in comparisons}
        return [name for name in pixels if pixels[name] in self.with_held_out]

    def tables_of_comparison(self, comparison: Comparison) -> list[str]:
        """Return the tables that are made of a comparison."""
        tables = {
            "distances": True,
            "summary": True,
            "fid": comparison.name in self.with_fid,
            "memorising": comparison.name in self.with_memorising,
            "speed": len(comparison.runs) > len(comparison.baselines)
            and comparison.sampling is None,  # which is of finished models only
            "costs": any(self.config.run(comparison.dataset, r).before for r in comparison.runs),
            "claims": bool(self.config.claims_of(comparison.name)),
            "reproducibility": len(self.runs_in(comparison)) > 1
            and "reproducibility" in (comparison.figures or ["reproducibility"]),
        }
        names = [f"{name}_{comparison.name}.csv" for name in tables if tables[name]]
        if comparison.name == self.config.coupling_marginals.comparison:
            names.append("coupling_marginals.csv")
        return self._paths(names)

    def tables_of_dataset(self, dataset: str) -> list[str]:
        """Return the tables, and the files beside them, that are made of a dataset."""
        names = []
        if dataset in self.config.noise_sample_pairs:
            names += [f"paths_{dataset}.csv", f"crossings_{dataset}.csv"]
            names += [f"noise_sample_pairs/{dataset}.tsne.npz"]
            if self.generating_runs(dataset):
                names.append(f"loss_over_time_{dataset}.csv")
        if dataset in self._datasets_with_runs:
            names.append(f"matching_share_{dataset}.csv")
        return self._paths(names)

    @cached_property
    def tables_of_nothing(self) -> list[str]:
        """The tables that are of no comparison and no dataset."""
        names = ("best_of_k.csv", "matching_cost.csv", "straightness.csv", "straightness.npz")
        return self._paths(names)

    @cached_property
    def _in_all(self) -> list[str]:
        """Comparisons that the target all makes."""
        return [name for name, one in self.config.all_comparisons.items() if one.in_all]

    @cached_property
    def _datasets(self) -> list[str]:
        """Datasets with runs, with pairs or pipelines of such, unless all leaves them out."""
        left_out = set(self._datasets_with_runs) - set(self._in_all)
        names = dict.fromkeys([*self._datasets_with_runs, *self.config.noise_sample_pairs])
        return [name for name in names if name not in left_out]

    def _tables(self, of: str, subject: str) -> list[str]:
        """Return all tables for figures of a comparison, a dataset or nothing."""
        tables = self.tables_of_nothing
        if of == "dataset":
            tables = tables + self.tables_of_dataset(subject)
        elif of == "comparison":
            comparison = self.config.comparison(subject)
            tables = tables + self.tables_of_comparison(comparison)
            tables += self.tables_of_dataset(comparison.dataset)
        return tables

    # Figures.

    def _figure(self, wildcards: Wildcards) -> tuple[FigureNotebook, str]:
        """Return a figure's notebook, and of which comparison or dataset it is."""
        notebook, subject = self.notebooks[wildcards.figure], self.subject(wildcards)
        if notebook.of == "comparison":
            self.config.comparison(subject)
        elif notebook.of == "dataset":
            if subject not in self.pipelines:
                self.config.dataset(subject)
        elif subject:
            raise InputError(
                f"figure {notebook.name} is of no dataset and no comparison; expected "
                f"{self.results}/figures/{notebook.name}.png"
            )
        return notebook, subject

    def subject(self, wildcards: Wildcards) -> str:
        """Return of which comparison or dataset a figure is."""
        return wildcards.subject.removeprefix("_")

    def figure_tables(self, wildcards: Wildcards) -> dict[str, str]:
        """Return the tables that a figure is drawn from, by the notebook's names for them."""
        notebook, subject = self._figure(wildcards)
        tables = self._named(notebook.tables, notebook, subject)
        made = self._tables(notebook.of, subject)
        for key, path in self._named(notebook.optional, notebook, subject).items():
            if path in made and (self.config.drawn_from is None or self._is_archived(path)):
                tables[key] = path
        return tables

    def _is_archived(self, path: str) -> bool:
        name = path.removeprefix(f"{self.results}/")
        return Path("results", self.config.drawn_from or "", name).exists()

    def _named(
        self, tables: Mapping[str, str], notebook: FigureNotebook, subject: str
    ) -> dict[str, str]:
        names = {notebook.of: subject}
        return {key: f"{self.results}/{name.format(**names)}" for key, name in tables.items()}

    def figure_reference(self, wildcards: Wildcards) -> str:
        """Return to which real images the distances that a figure shows are, if it shows any."""
        notebook, subject = self._figure(wildcards)
        if not notebook.reference:
            return ""
        return self.config.reference(self.config.comparison(subject).dataset)

    def figure_runs(self, wildcards: Wildcards) -> list[dict[str, Any]]:
        """Return the runs whose images a figure shows, if it shows any, each of its first seed."""
        notebook, subject = self._figure(wildcards)
        if not notebook.samples:
            return []
        first: dict[str, dict[str, Any]] = {}
        comparison = self.config.comparison(subject)
        for run, seed in self.runs_in(comparison):
            path = f"{self.evaluation(run, seed, comparison)}/samples.npz"
            first.setdefault(run.name, {"run": run.name, "seed": seed, "path": path})
        return list(first.values())

    def figure_samples(self, wildcards: Wildcards) -> list[str]:
        """Return the files of these images."""
        return [run["path"] for run in self.figure_runs(wildcards)]

    def _drawn(self, of: str, subject: str = "") -> list[str]:
        """Return the figures of a kind of subject whose tables are all made."""
        made = {*self._tables(of, subject)}
        return [
            name
            for name, notebook in self.notebooks.items()
            if notebook.of == of
            and made.issuperset(self._named(notebook.tables, notebook, subject).values())
        ]

    def _pictures(self, figures: Iterable[str], subject: str = "") -> list[str]:
        names = [f"figures/{figure}_{subject}".removesuffix("_") for figure in figures]
        return self._paths(f"{name}.{ending}" for name in names for ending in ("pdf", "png"))

    # Targets.

    def all_results(self) -> list[str]:
        """Return what the target all makes."""
        files = self._results(self._in_all, self._datasets)
        files += self.tables_of_nothing + self._pictures(self._drawn("nothing"))
        return files + self._behind(self._in_all, self._datasets)

    def target_results(self, target: str) -> list[str]:
        """Return what one of the targets makes that the configuration names."""
        names = self.config.targets[target]
        files = self._with_datasets(names)
        of_pairs = [
            name
            for name in self.config.noise_sample_pairs
            if {*self._paths([f"paths_{name}.csv", f"crossings_{name}.csv"])} & {*files}
        ]
        return files + self._behind(names, of_pairs)

    def reported_results(self, wildcards: Wildcards) -> list[str]:
        """Return what report.zip and crate.zip hold."""
        return self._with_datasets(self.config.report)

    def _with_datasets(self, comparisons: Sequence[str]) -> list[str]:
        """Return the results of comparisons, and of datasets whose own are among them.

        What matching costs takes long, and is not among them.
        """
        datasets = [name for name in comparisons if self.config.comparison(name).is_default]
        files = self._results(comparisons, datasets)
        if datasets:
            files += self._paths(["best_of_k.csv"]) + self._pictures(["best_of_k"])
        return files

    def _results(self, comparisons: Iterable[str], datasets: Iterable[str]) -> list[str]:
        files = []
        for comparison in map(self.config.comparison, comparisons):
            files += self.tables_of_comparison(comparison)
            figures = comparison.figures
            if figures is None:
                figures = self._drawn("comparison", comparison.name)
            for figure in figures:
                notebook = self.notebooks[figure]
                subject = getattr(comparison, {"comparison": "name"}.get(notebook.of, notebook.of))
                files += self._named(notebook.tables, notebook, subject).values()
                files += self._pictures([figure], subject)
        for dataset in datasets:
            files += self.tables_of_dataset(dataset)
            files += self._pictures(self._drawn("dataset", dataset), dataset)
        return files

    def _behind(self, comparisons: Iterable[str], datasets: Iterable[str]) -> list[str]:
        """Return what results are made from.

        Targets ask for it too: Snakemake leaves an intermediate file that was removed as it is,
        unless something else needs it.
        """
        if self.config.drawn_from is not None:
            return []
        files: set[str] = set()
        for comparison in map(self.config.comparison, comparisons):
            files |= self._behind_distances(comparison.dataset)
            for run, seed in self.runs_in(comparison):
                files |= self._behind_run(run, seed)
                results = ("distances.csv", "samples.npz")
                folder = self.evaluation(run, seed, comparison)
                files |= {f"{folder}/{name}" for name in results}
        pairs = set(datasets) & set(self.config.noise_sample_pairs)
        names = [f"noise_sample_pairs/{name}.npz" for name in pairs]
        for name in pairs & set(self.pipelines):
            names += [f"pairs/{name}", f"pipelines/{name}"]
        return sorted(files | set(self._paths(names)))

    def _behind_run(self, run: Run, seed: int) -> set[str]:
        """Return the files of a run's training, of its teacher's and of that of its start."""
        files = {f"{self.folder(run, seed)}/{name}" for name in ("model.safetensors", "run.json")}
        files |= set(self.before(run, seed).values())
        for name in {*run.before.values()}:
            files |= self._behind_run(self.config.run(run.dataset, name, seed), seed)
        return files

    def _behind_distances(self, dataset: str) -> set[str]:
        """Return the stores of a dataset, and what its images are compared by."""
        names, pixels = self.config.datasets[dataset].features, self.config.pixels(dataset)
        parts = self.config.parts(dataset)
        files = {f"data/{dataset}", *(f"{FOLDERS[part]}/{pixels}" for part in parts)}
        files |= {f"features/{pixels}/{part}/{n}.npz" for n in names for part in parts}
        if "held_out" in parts:
            files.add(f"features/{pixels}/held_out.csv")
        source = self.config.datasets[dataset].source
        if isinstance(source, LatentSource):
            files.add(f"autoencoders/{source.autoencoder}")
            files |= {f"features/{dataset}/{name}.reconstruction.csv" for name in names}
        return {*self._paths(files), *self._weights(dataset, names).values()}

    def staged(self) -> list[str]:
        """Return the downloads of everything that the target all needs, with its weights."""
        datasets = [name for name in self._datasets if name not in self.pipelines]
        pixels = sorted({self.config.pixels(name) for name in datasets})
        parts = [(name, part) for name in pixels for part in self.config.parts(name)]
        files = [*dict.fromkeys(file for one in parts for file in self._downloads(*one))]
        files += [
            f"{self.results}/autoencoders/{autoencoder}"
            for autoencoder in self.published_autoencoders
            if not set(self.config.latent_shapes(autoencoder)).isdisjoint(self._datasets)
        ]
        files += self._paths(f"pipelines/{name}" for name in self.pipelines)
        return files + ([self.inception] if self.with_fid else [])
