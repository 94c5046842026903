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
from dansm.files import check_results_folder
from dansm.gallery import archived_path

PROCESS_NAMES = sorted(SAMPLERS)

try:
    for path in workflow.configfiles:
        read_yaml(Path(path))
    CONFIG = parse_config(config, "config/config.yaml")
    RESULTS = CONFIG.results
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
        files += [f"{RESULTS}/fid_{dataset}.csv", f"{RESULTS}/speed_{dataset}.csv"]
        figures = ["distance_table", "distance_curves"]
        figures += [f"sample_grid_{process}" for process in processes_of(dataset)]
        figures += ["noise_sample_tsne"] if dataset in CONFIG.noise_sample_pairs else []
        files += [
            f"{RESULTS}/figures/{figure}_{dataset}.{ending}"
            for figure in figures
            for ending in ("pdf", "png")
        ]
    return files


def results_behind(datasets):
    """What those results are made from.

    Targets ask for it too: Snakemake leaves an intermediate file that was removed as it is, unless
    something else needs it.
    """
    if CONFIG.drawn_from is not None:
        return []
    files = []
    for dataset in datasets:
        rows, pixels, features = rows_of(dataset), pixels_of(dataset), features_of(dataset)
        files += [f"{RESULTS}/data/{pixels}", f"{RESULTS}/data/{dataset}"]
        files += potentials_by_coupling(dataset, rows).values()
        files += [
            f"{run_folder(row, seed)}/{name}"
            for row in rows
            for seed in CONFIG.seeds(row)
            for name in ("model.safetensors", "run.json", "distances.csv", "samples.npz")
        ]
        for extractor in features:
            files.append(f"{RESULTS}/features/{pixels}/{extractor}.npz")
            files.append(f"{RESULTS}/classifier" if extractor == "digit_classifier" else INCEPTION)
        if pixels != dataset:
            autoencoder = dataset_of(dataset).source.autoencoder
            files.append(f"{RESULTS}/autoencoders/{autoencoder}")
            files += [
                f"{RESULTS}/features/{dataset}/{name}.reconstruction.csv" for name in features
            ]
        if dataset in CONFIG.noise_sample_pairs:
            files.append(f"{RESULTS}/pairs/{dataset}.npz")
    return sorted(set(files))


def results_of_couplings():
    """What compares the couplings."""
    files = [f"{RESULTS}/matching_cost.csv", f"{RESULTS}/coupling_marginals.csv"]
    files += [f"{RESULTS}/coupling_ablation_{dataset}.csv" for dataset in CONFIG.coupling_ablations]
    figures = ["matching_cost"]
    figures += [f"coupling_ablation_{dataset}" for dataset in CONFIG.coupling_ablations]
    return files + [
        f"{RESULTS}/figures/{figure}.{ending}" for figure in figures for ending in ("pdf", "png")
    ]


def reported_results(wildcards):
    """What report.zip and crate.zip hold."""
    return results_of(CONFIG.demo if CONFIG.report is None else CONFIG.report)


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
    return CONFIG.scaled_classifier().model_dump(mode="json")


def potentials_settings(wildcards):
    settings = CONFIG.scaled_potentials().model_dump(mode="json")
    return settings | CONFIG.options(wildcards.coupling)


def marginal_settings(wildcards):
    return CONFIG.scaled_marginals().model_dump(mode="json")


def marginal_methods(wildcards):
    """The couplings that are compared on the dataset."""
    rows = CONFIG.ablation(CONFIG.coupling_marginals.dataset)
    potentials = potentials_by_coupling(CONFIG.coupling_marginals.dataset, rows)
    return [
        {
            "coupling": CONFIG.kind(row.coupling),
            "match_size": row.match_size,
            "options": CONFIG.options(row.coupling),
            "potentials": potentials.get(row.coupling),
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


def pair_settings(wildcards):
    if wildcards.dataset not in CONFIG.noise_sample_pairs:
        raise WorkflowError(
            f"noise_sample_pairs: no entry for {wildcards.dataset!r}; "
            f"expected one of {sorted(CONFIG.noise_sample_pairs)}"
        )
    return CONFIG.noise_sample_pairs[wildcards.dataset].model_dump(mode="json")


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
    names = [*DATASETS_WITH_EXPERIMENTS, *CONFIG.coupling_ablations]
    files = [
        file for name in sorted({pixels_of(name) for name in names}) for file in records_of(name)
    ]
    files += [
        f"{RESULTS}/autoencoders/{autoencoder}"
        for autoencoder in PUBLISHED_AUTOENCODERS
        if not set(CONFIG.latent_shapes(autoencoder)).isdisjoint(names)
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
    return list(potentials_by_coupling(dataset, CONFIG.ablation(dataset)).values())


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


def classifier_images(wildcards):
    return f"{RESULTS}/data/{CONFIG.classifier.dataset}"


def classifier_for(wildcards):
    """The classifier, if it is the extractor asked for or among those of the dataset."""
    names = (
        [wildcards.extractor] if "extractor" in wildcards.keys() else features_of(wildcards.dataset)
    )
    return f"{RESULTS}/classifier" if "digit_classifier" in names else []


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


def ablation_rows(wildcards):
    try:
        return CONFIG.ablation(wildcards.dataset)
    except InputError as error:
        raise WorkflowError(str(error)) from None


def ablation_folders(wildcards):
    return [run_folder(row, seed) for row in ablation_rows(wildcards) for seed in CONFIG.seeds(row)]


def ablation_files(wildcards):
    names = ("run.json", "stats.jsonl", "distances.csv")
    return [f"{folder}/{name}" for folder in ablation_folders(wildcards) for name in names]


def ablation_potentials(wildcards):
    """The potentials that runs of the comparison need, by coupling."""
    return potentials_by_coupling(wildcards.dataset, ablation_rows(wildcards))


def ablation_potential_files(wildcards):
    return list(ablation_potentials(wildcards).values())


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


def pair_perplexity(wildcards):
    return pair_settings(wildcards)["perplexity"]


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


def run_threads(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.threads


def run_memory(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.mem_mb


def run_minutes(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.runtime


def run_gpus(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.gpu


def run_processes(wildcards):
    return max(1, run_gpus(wildcards))


def evaluation_gpus(wildcards):
    return min(1, run_gpus(wildcards))


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
