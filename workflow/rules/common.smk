# The configuration, the namespace of results, and the functions that rules look things up with.

import os
import sys
from pathlib import Path

# The workflow and its jobs use this checkout's library, whatever else is installed.
LIBRARY = str(Path(workflow.basedir).parent / "src")
sys.path.insert(0, LIBRARY)
os.environ.update(
    PYTHONPATH=os.pathsep.join([LIBRARY, os.getenv("PYTHONPATH", "")]).rstrip(os.pathsep)
)

from snakemake.exceptions import WorkflowError

from dansm.config import (
    INCEPTION_FILE,
    SAMPLERS,
    LatentSource,
    TrainedAutoencoder,
    parse_config,
    read_yaml,
)
from dansm.data.published import files_are_there, published_files
from dansm.errors import InputError
from dansm.io.files import check_results_folder
from dansm.publish.archive import archived_path

PROCESS_NAMES = sorted(SAMPLERS)

try:
    for path in workflow.configfiles:
        read_yaml(Path(path))
    CONFIG = parse_config(config, "config/config.yaml")
    RESULTS = CONFIG.results
    # Not again in each job of a cluster, two of whose processes come here.
    if workflow.is_main_process:
        skip = {*CONFIG.scales, "reference", "from_reference", "training", "encoding", "png"}
        check_results_folder(Path(RESULTS), skip=skip)
except InputError as error:
    raise WorkflowError(str(error)) from None

DATASETS_WITH_EXPERIMENTS = list(dict.fromkeys(row.dataset for row in CONFIG.experiments))
PIXEL_DATASETS = [
    name
    for name, dataset in CONFIG.datasets.items()
    if not isinstance(dataset.source, LatentSource)
]
LATENT_DATASETS = [name for name in CONFIG.datasets if name not in PIXEL_DATASETS]
TRAINED_AUTOENCODERS = [
    name for name, model in CONFIG.autoencoders.items() if isinstance(model, TrainedAutoencoder)
]
PUBLISHED_AUTOENCODERS = [name for name in CONFIG.autoencoders if name not in TRAINED_AUTOENCODERS]
# What a download's record is named after; not below results/, since all scales share the files.
DOWNLOADS = "resources/downloads"
INCEPTION = f"{RESULTS}/inception/{INCEPTION_FILE}"
RUN = "{dataset}/{process}/{coupling}-{match_size}/seed{seed}"
ENVIRONMENT = "../envs/dansm.yml"
BEST_OF_K = [f"{RESULTS}/best_of_k.csv"]
BEST_OF_K += [f"{RESULTS}/figures/best_of_k.{ending}" for ending in ("pdf", "png")]


def one_of(names):
    """The pattern of a wildcard that is one of some names; without any, it matches nothing."""
    return "|".join(names) or "(?!)"


def rows_of(dataset):
    try:
        return CONFIG.rows(dataset)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def row_of(wildcards):
    try:
        return CONFIG.row(
            wildcards.dataset, wildcards.process, wildcards.coupling, int(wildcards.match_size)
        )
    except InputError as error:
        raise WorkflowError(str(error)) from None


def dataset_of(name):
    if name not in CONFIG.datasets:
        raise WorkflowError(f"unknown dataset {name!r}; expected one of {sorted(CONFIG.datasets)}")
    return CONFIG.datasets[name]


def pixels_of(name):
    """The dataset whose images are compared: of latents, the one they were encoded from."""
    source = dataset_of(name).source
    return source.of if isinstance(source, LatentSource) else name


def features_of(name):
    dataset_of(name)
    return CONFIG.features(name)


def results_of(datasets):
    """Everything the workflow makes for some datasets."""
    files = []
    for dataset in datasets:
        tables = ["fid", "times", "speed", "matching_share", "claims"]
        figures = ["distance_table", "distance_curves", "distance_time", "saving"]
        figures += ["matching_share", "claims"]
        figures += [f"sample_grid_{process}" for process in processes_of(dataset)]
        if len(compared_of(dataset)) > 1:
            tables.append("reproducibility")
            figures.append("reproducibility")
        files += [f"{RESULTS}/{table}_{dataset}.csv" for table in tables]
        files += figures_of(dataset, figures)
    return files + results_of_pairs(set(datasets) & set(CONFIG.noise_sample_pairs))


def results_of_pairs(datasets):
    """What is made of the noise-sample pairs of some datasets, with or without experiments."""
    files = []
    for dataset in sorted(datasets):
        tables, figures = ["paths", "crossings"], ["noise_sample_tsne", "path_geometry"]
        figures.append("nearest_share")
        if CONFIG.vanilla_flow(dataset):
            tables.append("loss_over_time")
            figures.append("loss_over_time")
        files += [f"{RESULTS}/{table}_{dataset}.csv" for table in tables]
        files += [f"{RESULTS}/pairs/{dataset}.npz"] if CONFIG.drawn_from is None else []
        files += figures_of(dataset, figures)
    return files


def results_behind(datasets, ablations):
    """What the results of some datasets and comparisons of couplings are made from.

    Targets ask for it too: Snakemake leaves an intermediate file that was removed as it is, unless
    something else needs it.
    """
    if CONFIG.drawn_from is not None:
        return []
    rows = [row for dataset in datasets for row in rows_of(dataset)]
    rows += [row for ablation in ablations for row in CONFIG.ablation(ablation)]
    files = [
        f"{run_folder(row, seed)}/{name}"
        for row in rows
        for seed in CONFIG.seeds(row)
        for name in ("model.safetensors", "run.json", "distances.csv", "samples.npz")
    ]
    for dataset in {row.dataset for row in rows}:
        pixels, features = pixels_of(dataset), features_of(dataset)
        of_dataset = [row for row in rows if row.dataset == dataset]
        files += [f"{RESULTS}/data/{pixels}", f"{RESULTS}/data/{dataset}"]
        files += potentials_by_coupling(dataset, of_dataset).values()
        for extractor in features:
            files.append(f"{RESULTS}/features/{pixels}/{extractor}.npz")
            classifier = f"{RESULTS}/classifiers/{pixels}"
            files.append(classifier if extractor == "digit_classifier" else INCEPTION)
        if pixels != dataset:
            autoencoder = dataset_of(dataset).source.autoencoder
            files.append(f"{RESULTS}/autoencoders/{autoencoder}")
            files += [
                f"{RESULTS}/features/{dataset}/{name}.reconstruction.csv" for name in features
            ]
    return sorted(set(files))


def figures_of(name, figures):
    return [
        f"{RESULTS}/figures/{figure}_{name}.{ending}"
        for figure in figures
        for ending in ("pdf", "png")
    ]


def results_of_matching_cost():
    """What matching costs, whatever the dataset."""
    figures = [f"{RESULTS}/figures/matching_cost.{ending}" for ending in ("pdf", "png")]
    return [f"{RESULTS}/matching_cost.csv", *figures]


def results_of_couplings(ablations):
    """Everything that the workflow makes for some comparisons of couplings."""
    tables = ["coupling_ablation", "coupling_speed", "coupling_claims"]
    files = [f"{RESULTS}/{table}_{ablation}.csv" for table in tables for ablation in ablations]
    datasets = {CONFIG.coupling_ablations[ablation].dataset for ablation in ablations}
    if CONFIG.coupling_marginals.dataset in datasets:
        files.append(f"{RESULTS}/coupling_marginals.csv")
    figures = ["coupling_ablation", "coupling_saving", "coupling_claims"]
    return files + [file for ablation in ablations for file in figures_of(ablation, figures)]


def results_of_demo():
    couplings = results_of_couplings(CONFIG.demo_couplings)
    return [*results_of(CONFIG.demo), *couplings, *BEST_OF_K]


def reported_results(wildcards):
    """What report.zip and crate.zip hold."""
    return results_of_demo() if CONFIG.report is None else results_of(CONFIG.report)


def processes_of(dataset):
    return sorted({row.process for row in rows_of(dataset)})


def run_folder(row, seed):
    return f"{RESULTS}/runs/{row.dataset}/{row.process}/{row.coupling}-{row.match_size}/seed{seed}"


def potentials_path(dataset, coupling):
    return f"{RESULTS}/potentials/{dataset}/{coupling}.npz"


def potentials_by_coupling(dataset, rows):
    """The potentials that rows of a dataset need, by coupling."""
    couplings = {row.coupling for row in rows if CONFIG.kind(row.coupling) == "semidiscrete"}
    return {coupling: potentials_path(dataset, coupling) for coupling in sorted(couplings)}


# Parameters: what a job's script receives, and all whose change makes it run again.


def run_settings(wildcards):
    return CONFIG.run_settings(row_of(wildcards), int(wildcards.seed)).model_dump(mode="json")


def run_sampling(wildcards):
    return CONFIG.sampling(row_of(wildcards)).model_dump(mode="json")


def run_features(wildcards):
    return features_of(wildcards.dataset)


def dataset_source(wildcards):
    name = wildcards.dataset
    has = has_standin(name)
    source = CONFIG.standin_source(name, standin_of(name)) if has else CONFIG.scaled_source(name)
    # The zip's checksum is the download's business: pinning it later builds nothing again.
    return source.model_dump(mode="json", exclude={"sha256"})


def dataset_files(name):
    """The files of a dataset that can be downloaded, by name."""
    return published_files(CONFIG.scaled_source(name), CONFIG.mirrors.get(name, ()))


def has_standin(name):
    """Whether a dataset's files are made up: at a reduced scale, where the published are not."""
    return CONFIG.scale is not None and not files_are_there(CONFIG.scaled_source(name))


def standin_of(name):
    return f"{RESULTS}/standins/{name}"


def download_settings(wildcards):
    files = dataset_files(wildcards.dataset)
    if wildcards.file not in files:
        raise WorkflowError(
            f"{wildcards.dataset} has no published file {wildcards.file!r}; "
            f"expected one of {sorted(files)}"
        )
    file = files[wildcards.file]
    return file._asdict() | {"path": str(file.path), "unpacked": str(file.unpacked)}


def dataset_shape(wildcards):
    return list(dataset_of(wildcards.dataset).shape)


def dataset_licence(wildcards):
    return dataset_of(wildcards.dataset).licence


def autoencoder_settings(wildcards):
    # How many GPUs share an encoding does not make it another one.
    settings = CONFIG.scaled_autoencoder(wildcards.autoencoder)
    return settings.model_dump(mode="json", exclude={"gpus"})


def autoencoder_name(wildcards):
    return dataset_of(wildcards.dataset).source.autoencoder


def fetched_shapes(wildcards):
    return CONFIG.latent_shapes(wildcards.autoencoder)


def standin_shapes(wildcards):
    return next(iter(CONFIG.latent_shapes(wildcards.autoencoder).values()))


def standin_images(wildcards):
    return CONFIG.scales[CONFIG.scale].images


def keeps_posterior(wildcards):
    return dataset_of(wildcards.dataset).source.posterior == "sample"


def keeps_mirrored(wildcards):
    return dataset_of(wildcards.dataset).horizontal_flips


def classifier_settings(wildcards):
    """The classifier of a dataset's images, if it has one."""
    name = pixels_of(wildcards.dataset)
    if name not in CONFIG.classifiers:
        return None
    return CONFIG.scaled_classifier(name).model_dump(mode="json")


def potentials_settings(wildcards):
    settings = CONFIG.scaled_potentials().model_dump(mode="json")
    return settings | CONFIG.options(wildcards.coupling)


def marginal_settings(wildcards):
    return CONFIG.scaled_marginals().model_dump(mode="json")


def marginal_methods(wildcards):
    """The couplings that are compared on the dataset."""
    rows = CONFIG.compared(CONFIG.coupling_marginals.dataset)
    potentials = potentials_by_coupling(CONFIG.coupling_marginals.dataset, rows)
    return [
        {
            "coupling": CONFIG.kind(row.coupling),
            "match_size": row.match_size,
            "options": CONFIG.options(row.coupling),
            "potentials": potentials.get(row.coupling),
            "name": row.coupling,
        }
        for row in rows
    ]


def matching_cost_settings(wildcards):
    return CONFIG.scaled_matching_cost().model_dump(mode="json")


def matching_cost_batch_size(wildcards):
    return CONFIG.scaled_matching_cost().shown_batch_size


def extractor_options(wildcards):
    return {
        "classifier": classifier_settings(wildcards),
        "inception_weights": f"{RESULTS}/inception",
        "inception_sha256": CONFIG.inception_sha256,
    }


def inception_settings(wildcards):
    weights = CONFIG.inception_weights
    return {
        "weights": None if weights is None else str(weights),
        "expected": CONFIG.inception_sha256,
    }


def best_of_k_settings(wildcards):
    return CONFIG.scaled_best_of_k().model_dump(mode="json")


def pairs_of(dataset):
    try:
        return CONFIG.scaled_pairs(dataset)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def pair_settings(wildcards):
    pairs = pairs_of(wildcards.dataset)
    return {key: getattr(pairs, key) for key in ("draws", "count", "match_sizes", "seed")}


def pair_batch_sizes(wildcards):
    return pairs_of(wildcards.dataset).batch_sizes


def embedding_settings(wildcards):
    pairs = pairs_of(wildcards.dataset)
    return {key: getattr(pairs, key) for key in ("pairs", "perplexity", "embeddings")}


def pair_row(wildcards):
    """The row whose model generates the samples; None without."""
    return CONFIG.vanilla_flow(wildcards.dataset)


def pair_run(wildcards):
    row = pair_row(wildcards)
    return row and CONFIG.run_settings(row, CONFIG.seeds(row)[0]).model_dump(mode="json")


def pair_batch_size(wildcards):
    row = pair_row(wildcards)
    return row and CONFIG.sampling(row).batch_size


def pair_origin(wildcards):
    """Whose samples they are, for titles."""
    return "generated" if pair_row(wildcards) else "stored"


def loss_rows(wildcards):
    """Vanilla rectified flow, and that of the largest match size."""
    rows = [CONFIG.vanilla_flow(wildcards.dataset), CONFIG.matched_flow(wildcards.dataset)]
    if rows[0] is None:
        raise WorkflowError(
            f"no row of vanilla rectified flow for {wildcards.dataset}: its loss is not measured"
        )
    return [row for row in rows if row]


def loss_runs(wildcards):
    return [
        {
            "settings": CONFIG.run_settings(row, CONFIG.seeds(row)[0]).model_dump(mode="json"),
            "folder": run_folder(row, CONFIG.seeds(row)[0]),
            "batch_size": CONFIG.sampling(row).batch_size,
        }
        for row in loss_rows(wildcards)
    ]


def loss_settings(wildcards):
    pairs = pairs_of(wildcards.dataset)
    return {
        "count": pairs.count,
        "match_size": loss_match_size(wildcards),
        "bins": pairs.time_bins,
        "seed": pairs.seed,
    }


def loss_match_size(wildcards):
    """That of the matched noises."""
    return pairs_of(wildcards.dataset).match_sizes[-1]


def compared_of(dataset):
    """Runs whose images of the same noises are compared, vanilla first, with their longest sampling."""
    rows = [row for row in rows_of(dataset) if row.coupling in ("independent", "greedy")]
    runs = []
    for row in sorted(rows, key=lambda row: row.process, reverse=True):
        sampler, steps = CONFIG.sampling(row).longest
        runs += [
            {
                "process": row.process,
                "coupling": row.coupling,
                "match_size": row.match_size,
                "seed": seed,
                "path": f"{run_folder(row, seed)}/samples.npz",
                "sampler": sampler,
                "steps": steps,
            }
            for seed in CONFIG.seeds(row)
        ]
    return runs


def compared_runs(wildcards):
    return compared_of(wildcards.dataset)


def resolved_config(wildcards):
    return CONFIG.model_dump(mode="json", by_alias=True)


def captions(wildcards):
    """The files of captions, by the rule whose results they describe."""
    reported = {
        made_by.name: file.flags["report"].caption.get_path_or_uri(secret_free=True)
        for made_by in workflow.rules
        for file in made_by.output
        if "report" in file.flags
    }
    return {name: os.path.relpath(caption) for name, caption in reported.items()}


def plan_options():
    """The configuration of this call, for the command that it makes."""
    base = Path("config/config.yaml").resolve()
    more = [path for path in workflow.configfiles if Path(path).resolve() != base]
    options = [f"--configfile={path}" for path in more]
    return " ".join(options + ([f"--scale={CONFIG.scale}"] if CONFIG.scale else []))


# Inputs.


def downloads_of(wildcards):
    """The records of all that a dataset's source reads and that can be downloaded."""
    return records_of(wildcards.dataset)


def records_of(name):
    if has_standin(name):
        return [standin_of(name)]
    return [f"{DOWNLOADS}/{name}/{file}.json" for file in dataset_files(name)]


def staged():
    """The same for everything that the target all needs, with the weights that it needs."""
    compared = [ablation.dataset for ablation in CONFIG.coupling_ablations.values()]
    names = [*DATASETS_WITH_EXPERIMENTS, *compared]
    built = [*names, *CONFIG.pairs_without_experiments]
    files = [
        file for name in sorted({pixels_of(name) for name in built}) for file in records_of(name)
    ]
    files += [
        f"{RESULTS}/autoencoders/{autoencoder}"
        for autoencoder in PUBLISHED_AUTOENCODERS
        if not set(CONFIG.latent_shapes(autoencoder)).isdisjoint(built)
    ]
    if any("inception" in extractor for name in names for extractor in features_of(name)):
        files.append(INCEPTION)
    return files


def store_of(wildcards):
    return f"{RESULTS}/data/{wildcards.dataset}"


def potentials_of(wildcards):
    if CONFIG.kind(wildcards.coupling) != "semidiscrete":
        return []
    return potentials_path(wildcards.dataset, wildcards.coupling)


def marginal_store(wildcards):
    return f"{RESULTS}/data/{CONFIG.coupling_marginals.dataset}"


def marginal_potentials(wildcards):
    dataset = CONFIG.coupling_marginals.dataset
    return list(potentials_by_coupling(dataset, CONFIG.compared(dataset)).values())


def pair_store(wildcards):
    return [] if pair_row(wildcards) else store_of(wildcards)


def pair_model(wildcards):
    row = pair_row(wildcards)
    return f"{run_folder(row, CONFIG.seeds(row)[0])}/model.safetensors" if row else []


def loss_models(wildcards):
    return [f"{run['folder']}/model.safetensors" for run in loss_runs(wildcards)]


def compared_samples(wildcards):
    return [run["path"] for run in compared_of(wildcards.dataset)]


def pixel_store_of(wildcards):
    return f"{RESULTS}/data/{pixels_of(wildcards.dataset)}"


def decoder_of(wildcards):
    if not isinstance(dataset_of(wildcards.dataset).source, LatentSource):
        return []
    return autoencoder_of(wildcards)


def autoencoder_of(wildcards):
    return f"{RESULTS}/autoencoders/{autoencoder_name(wildcards)}"


def autoencoder_images(wildcards):
    return f"{RESULTS}/data/{CONFIG.autoencoders[wildcards.autoencoder].dataset}"


def classifier_for(wildcards):
    """The classifier, if it is the extractor asked for or among those of the dataset."""
    names = (
        [wildcards.extractor] if "extractor" in wildcards.keys() else features_of(wildcards.dataset)
    )
    folder = f"{RESULTS}/classifiers/{pixels_of(wildcards.dataset)}"
    return folder if "digit_classifier" in names else []


def inception_for(wildcards):
    """Inception's weights, likewise."""
    names = (
        [wildcards.extractor] if "extractor" in wildcards.keys() else features_of(wildcards.dataset)
    )
    return INCEPTION if any("inception" in name for name in names) else []


def reference_features_of(wildcards):
    return [
        f"{RESULTS}/features/{pixels_of(wildcards.dataset)}/{extractor}.npz"
        for extractor in features_of(wildcards.dataset)
    ]


def tables_of(wildcards):
    """The tables of all runs of a dataset, of its floor, and of its autoencoder."""
    dataset = wildcards.dataset
    tables = [
        f"{run_folder(row, seed)}/distances.csv"
        for row in rows_of(dataset)
        for seed in CONFIG.seeds(row)
    ]
    for extractor in features_of(dataset):
        tables.append(f"{RESULTS}/features/{pixels_of(dataset)}/{extractor}.floor.csv")
        if isinstance(dataset_of(dataset).source, LatentSource):
            tables.append(f"{RESULTS}/features/{dataset}/{extractor}.reconstruction.csv")
    return tables


def timed_rows(wildcards):
    """The rows of a comparison of couplings, or else of a dataset."""
    if "ablation" not in wildcards.keys():
        return rows_of(wildcards.dataset)
    try:
        return CONFIG.ablation(wildcards.ablation)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def timed_folders(wildcards):
    return [run_folder(row, seed) for row in timed_rows(wildcards) for seed in CONFIG.seeds(row)]


def timed_files(wildcards):
    names = ("run.json", "stats.jsonl", "distances.csv")
    return [f"{folder}/{name}" for folder in timed_folders(wildcards) for name in names]


def timed_potentials(wildcards):
    """The potentials that these runs need, by coupling."""
    rows = timed_rows(wildcards)
    return potentials_by_coupling(rows[0].dataset, rows)


def timed_potential_files(wildcards):
    return list(timed_potentials(wildcards).values())


def dataset_compared(wildcards):
    return timed_rows(wildcards)[0].dataset


def ablation_marginals(wildcards):
    """What the couplings do to the noise, where it is measured on the comparison's dataset."""
    measured = dataset_compared(wildcards) == CONFIG.coupling_marginals.dataset
    return f"{RESULTS}/coupling_marginals.csv" if measured else []


def claim_list(wildcards):
    """The claims of a dataset, or those that a comparison of couplings on it says something of."""
    claims = CONFIG.claims_of(dataset_compared(wildcards))
    if "ablation" in wildcards.keys():
        process = CONFIG.coupling_ablations[wildcards.ablation].process
        claims = [c for c in claims if getattr(c.measure, "process", None) == process]
    return [claim.model_dump(mode="json") for claim in claims]


def claim_extractor(wildcards):
    """Whose distances claims are about: the first that the dataset names."""
    return features_of(dataset_compared(wildcards))[0]


def claim_distances(wildcards):
    """The dataset's distances, and those of the demo's comparisons of couplings on it."""
    names = [
        name
        for name in CONFIG.demo_couplings
        if CONFIG.coupling_ablations[name].dataset == wildcards.dataset
    ]
    comparisons = [f"{RESULTS}/coupling_ablation_{name}.csv" for name in names]
    return [f"{RESULTS}/fid_{wildcards.dataset}.csv", *comparisons]


def of_pairs(table):
    """A table of noise-sample pairs, where they are drawn; claims without theirs are undecided."""

    def path(wildcards):
        drawn = wildcards.dataset in CONFIG.noise_sample_pairs
        return [f"{RESULTS}/{table}_{wildcards.dataset}.csv"] if drawn else []

    return path


def claim_reproducibility(wildcards):
    """The table of models trained apart, where there are two or more."""
    several = len(compared_of(wildcards.dataset)) > 1
    return [f"{RESULTS}/reproducibility_{wildcards.dataset}.csv"] if several else []


def share_row(wildcards):
    """The row whose network and recipe matching is compared with: the dataset's first."""
    return rows_of(wildcards.dataset)[0]


def share_run(wildcards):
    row = share_row(wildcards)
    return CONFIG.run_settings(row, CONFIG.seeds(row)[0]).model_dump(mode="json")


def share_settings(wildcards):
    return CONFIG.scaled_matching_share().model_dump(mode="json")


def reference_of_pixels(wildcards):
    return f"{RESULTS}/features/{pixels_of(wildcards.dataset)}/{wildcards.extractor}.npz"


def grid_rows(wildcards):
    """The paper's rows: vanilla and greedy by match size."""
    rows = [
        row
        for row in rows_of(wildcards.dataset)
        if row.process == wildcards.process and row.coupling in ("independent", "greedy")
    ]
    if not rows:
        raise WorkflowError(
            f"no experiment row for {wildcards.dataset}, {wildcards.process}; "
            f"expected one of {processes_of(wildcards.dataset)}"
        )
    return rows


def grid_seed(wildcards):
    """The seed whose samples are shown: the first of the first row."""
    return CONFIG.seeds(grid_rows(wildcards)[0])[0]


def grid_samples(wildcards):
    seed = grid_seed(wildcards)
    return [f"{run_folder(row, seed)}/samples.npz" for row in grid_rows(wildcards)]


def grid_parameter(wildcards):
    rows = grid_rows(wildcards)
    return [
        {"match_size": row.match_size, "path": path}
        for row, path in zip(rows, grid_samples(wildcards))
    ]


def grid_sampler(wildcards):
    return next(iter(CONFIG.sampling(grid_rows(wildcards)[0]).every_snapshot))


def grid_steps(wildcards):
    sampling = CONFIG.sampling(grid_rows(wildcards)[0])
    return sampling.every_snapshot[grid_sampler(wildcards)]


def archived_file(wildcards):
    try:
        return archived_path(wildcards.file)
    except InputError as error:
        raise WorkflowError(str(error)) from None


# Resources.


def gpus(count):
    """The resources, in the cluster's form, that ask for as many GPUs as a function counts."""

    def resource(name):
        def value(wildcards):
            return CONFIG.cluster.request(count(wildcards))[name]

        return value

    return {name: resource(name) for name in CONFIG.cluster.request(0)}


def training_threads(row):
    """Those of the recipe; at a reduced scale the networks are too small for more than one."""
    return CONFIG.recipes[row.recipe].hardware.threads if CONFIG.scale is None else 1


def run_threads(wildcards):
    return training_threads(row_of(wildcards))


def run_memory(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.mem_mb


def run_minutes(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.runtime


def run_gpus(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.gpu


def share_hardware(wildcards):
    return CONFIG.recipes[share_row(wildcards).recipe].hardware


def share_threads(wildcards):
    """At least two: nobody is to disturb the thread that matches ahead."""
    return max(2, training_threads(share_row(wildcards)))


def share_training_threads(wildcards):
    return training_threads(share_row(wildcards))


def share_memory(wildcards):
    return share_hardware(wildcards).mem_mb


def share_gpus(wildcards):
    return min(1, share_hardware(wildcards).gpu)


def run_processes(wildcards):
    return max(1, run_gpus(wildcards))


def evaluation_gpus(wildcards):
    return min(1, run_gpus(wildcards))


def pair_gpus(wildcards):
    row = pair_row(wildcards)
    return min(1, CONFIG.recipes[row.recipe].hardware.gpu) if row else 0


def pair_memory(wildcards):
    row = pair_row(wildcards)
    return max(8000, CONFIG.recipes[row.recipe].hardware.mem_mb if row else 0)


def encoding_gpus(wildcards):
    """GPUs for the large published autoencoders, none for those trained or made up here."""
    name = autoencoder_name(wildcards)
    published = CONFIG.scale is None and name in PUBLISHED_AUTOENCODERS
    return CONFIG.autoencoders[name].gpus if published else 0


def extractor_threads(wildcards):
    """More for Inception, whose 2 048 features make large matrices."""
    return 4 if wildcards.extractor.startswith("inception") else 1


def extractor_gpus(wildcards):
    return 1 if wildcards.extractor.startswith("inception") else 0


def matching_cost_threads(wildcards):
    return CONFIG.matching_cost.threads


def matching_cost_memory(wildcards):
    """What a cell may need, and the process it starts from."""
    return CONFIG.matching_cost.memory_mb + 2000
