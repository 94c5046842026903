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

from dansm.config import SAMPLERS, LatentSource, TrainedAutoencoder, parse_config, read_yaml
from dansm.errors import InputError
from dansm.files import check_results_folder

PROCESS_NAMES = sorted(SAMPLERS)

try:
    for path in workflow.configfiles:
        read_yaml(Path(path))
    CONFIG = parse_config(config, "config/config.yaml")
    RESULTS = CONFIG.results
    check_results_folder(Path(RESULTS), skip={*CONFIG.scales, "reference", "training", "png"})
except InputError as error:
    raise WorkflowError(str(error)) from None

DATASETS_WITH_EXPERIMENTS = list(dict.fromkeys(row.dataset for row in CONFIG.experiments))
PIXEL_DATASETS = [
    name
    for name, dataset in CONFIG.datasets.items()
    if not isinstance(dataset.source, LatentSource)
]
LATENT_DATASETS = [name for name in CONFIG.datasets if name not in PIXEL_DATASETS]
RUN = "{dataset}/{process}/{coupling}-{match_size}/seed{seed}"
ENVIRONMENT = "../../environment.yml"


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


def coupling_results():
    """What compares the couplings."""
    return [
        f"{RESULTS}/{name}"
        for dataset in CONFIG.coupling_ablations
        for name in (
            f"coupling_ablation_{dataset}.csv",
            f"figures/coupling_ablation_{dataset}.pdf",
            f"figures/coupling_ablation_{dataset}.png",
        )
    ]


def processes_of(dataset):
    return sorted({row.process for row in rows_of(dataset)})


def run_folder(row, seed):
    return f"{RESULTS}/runs/{row.dataset}/{row.process}/{row.coupling}-{row.match_size}/seed{seed}"


# Parameters: what a job's script receives, and all whose change makes it run again.


def run_settings(wildcards):
    return CONFIG.run_settings(row_of(wildcards), int(wildcards.seed)).model_dump(mode="json")


def run_sampling(wildcards):
    return CONFIG.sampling(row_of(wildcards)).model_dump(mode="json")


def run_features(wildcards):
    return list(dataset_of(wildcards.dataset).features)


def dataset_source(wildcards):
    return CONFIG.scaled_source(wildcards.dataset).model_dump(mode="json")


def dataset_shape(wildcards):
    return list(dataset_of(wildcards.dataset).shape)


def dataset_licence(wildcards):
    return dataset_of(wildcards.dataset).licence


def autoencoder_settings(wildcards):
    return CONFIG.scaled_autoencoder(autoencoder_name(wildcards)).model_dump(mode="json")


def autoencoder_name(wildcards):
    if "autoencoder" in wildcards.keys():
        if wildcards.autoencoder not in CONFIG.autoencoders:
            raise WorkflowError(
                f"unknown autoencoder {wildcards.autoencoder!r}; "
                f"expected one of {sorted(CONFIG.autoencoders)}"
            )
        return wildcards.autoencoder
    return dataset_of(wildcards.dataset).source.autoencoder


def decoder_settings(wildcards):
    """The autoencoder that turns a run's samples into images; none for pixel datasets."""
    if isinstance(dataset_of(wildcards.dataset).source, LatentSource):
        return autoencoder_settings(wildcards)
    return None


def classifier_settings(wildcards):
    return CONFIG.scaled_classifier().model_dump(mode="json")


def potentials_settings(wildcards):
    return CONFIG.scaled_potentials().model_dump(mode="json")


def extractor_options(wildcards):
    weights = CONFIG.inception_weights
    return {
        "classifier": classifier_settings(wildcards),
        "inception_weights": None if weights is None else str(weights),
        "inception_sha256": CONFIG.inception_sha256,
    }


def pair_settings(wildcards):
    if wildcards.dataset not in CONFIG.noise_sample_pairs:
        raise WorkflowError(
            f"noise_sample_pairs: no entry for {wildcards.dataset!r}; "
            f"expected one of {sorted(CONFIG.noise_sample_pairs)}"
        )
    return CONFIG.noise_sample_pairs[wildcards.dataset].model_dump(mode="json")


# Inputs.


def store_of(wildcards):
    return f"{RESULTS}/data/{wildcards.dataset}"


def potentials_of(wildcards):
    if CONFIG.kind(wildcards.coupling) != "semidiscrete":
        return []
    return f"{RESULTS}/potentials/{wildcards.dataset}.npz"


def pixel_store_of(wildcards):
    return f"{RESULTS}/data/{pixels_of(wildcards.dataset)}"


def decoder_of(wildcards):
    if not isinstance(dataset_of(wildcards.dataset).source, LatentSource):
        return []
    return trained_autoencoder_of(wildcards)


def trained_autoencoder_of(wildcards):
    """The autoencoder that encodes or decodes; a pretrained one is no file of ours."""
    name = autoencoder_name(wildcards)
    if not isinstance(CONFIG.autoencoders[name], TrainedAutoencoder):
        return []
    return f"{RESULTS}/autoencoders/{name}"


def autoencoder_images(wildcards):
    settings = CONFIG.autoencoders.get(wildcards.autoencoder)
    if not isinstance(settings, TrainedAutoencoder):
        raise WorkflowError(f"autoencoder {wildcards.autoencoder!r} is not one that is trained")
    return f"{RESULTS}/data/{settings.dataset}"


def classifier_images(wildcards):
    return f"{RESULTS}/data/{CONFIG.classifier.dataset}"


def classifier_for(wildcards):
    """The classifier, if it is the extractor asked for or among those of the dataset."""
    names = (
        [wildcards.extractor]
        if "extractor" in wildcards.keys()
        else dataset_of(wildcards.dataset).features
    )
    return f"{RESULTS}/classifier" if "digit_classifier" in names else []


def reference_features_of(wildcards):
    return [
        f"{RESULTS}/features/{pixels_of(wildcards.dataset)}/{extractor}.npz"
        for extractor in dataset_of(wildcards.dataset).features
    ]


def tables_of(wildcards):
    """The tables of all runs of a dataset, of its floor, and of its autoencoder."""
    dataset = wildcards.dataset
    tables = [
        f"{run_folder(row, seed)}/distances.csv"
        for row in rows_of(dataset)
        for seed in CONFIG.seeds(row)
    ]
    for extractor in dataset_of(dataset).features:
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
    """The potentials that a run of the comparison needs; none where no run does."""
    kinds = {CONFIG.kind(row.coupling) for row in ablation_rows(wildcards)}
    return f"{RESULTS}/potentials/{wildcards.dataset}.npz" if "semidiscrete" in kinds else []


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


# Resources.


def run_threads(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.threads


def run_memory(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.mem_mb


def run_minutes(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.runtime


def run_gpus(wildcards):
    return CONFIG.recipes[row_of(wildcards).recipe].hardware.gpu


def encoding_gpus(wildcards):
    """A GPU for the large pretrained autoencoders, none for those trained here."""
    return 0 if trained_autoencoder_of(wildcards) else 1


def extractor_threads(wildcards):
    """More for Inception, whose 2 048 features make large matrices."""
    return 4 if wildcards.extractor.startswith("inception") else 1


def extractor_gpus(wildcards):
    return 1 if wildcards.extractor.startswith("inception") else 0
