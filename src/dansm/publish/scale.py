"""Tables of the page on sizes that were not run, made from formulas and archived times."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dansm.analysis.scale import (
    ADAPTIVE_EVALUATIONS,
    BANDWIDTH_PEAK,
    BATCH,
    DATASETS,
    FIT_BATCH,
    FLOAT32_PEAK,
    GPUS,
    LARGEST_UNEVENNESS,
    MEMORY,
    NOISES_PER_SAMPLE,
    NOTICED,
    SHARE_OF_MEMORY,
    SHARE_OF_PRODUCT,
    Data,
    Times,
    Training,
    fit_noises,
    limits_of,
    scale_table,
    training_of,
)
from dansm.config import Recipe, load_config
from dansm.errors import InputError
from dansm.io.tables import MATCHING_COST_COLUMNS, read_table
from dansm.models.flops import DEFAULT_GPU, PEAKS, SHARE_OF_PEAK

CONFIG, RECIPE = Path("config/config.yaml"), "bedroom_flow"
_LIMITS = {
    "memory": "memory of the GPU",
    "cpu": "waits for the CPU",
    "gpu": "time of the GPU",
    "before": "work before training",
}


def scale_section(path: Path, part: str) -> list[pd.DataFrame]:
    """Return tables for people, of text: of one dataset or of all.

    Parameters
    ----------
    path
        Table of what matching costs.
    part
        ``assumptions``, ``datasets``, ``limits`` or one of `DATASETS`.

    Raises
    ------
    InputError
        If the part is another.
    """
    costs = read_table(path, MATCHING_COST_COLUMNS)
    config = load_config(CONFIG)
    recipe = config.recipes[RECIPE]
    if part == "assumptions":
        return [_assumptions(costs)]

    def training(data: Data) -> Training:
        return training_of(data, config.networks[recipe.network], recipe.budget_images)

    if part == "datasets":
        return [_datasets([(data, training(data)) for data in DATASETS.values()], recipe)]
    if part == "limits":
        return [_limits([(data, training(data)) for data in DATASETS.values()], costs)]
    if part in DATASETS:
        return _of_dataset(scale_table(DATASETS[part], training(DATASETS[part]), costs))
    known = ["assumptions", "datasets", "limits", *DATASETS]
    raise InputError(f"generated: scale {part}: expected one of {known}")


def _assumptions(costs: pd.DataFrame) -> pd.DataFrame:
    half, single = PEAKS[DEFAULT_GPU]
    processors, threads = costs["processor"].dropna().unique(), Times(costs).threads
    sheet = f"its data sheet ({DEFAULT_GPU}, 80 GB, SXM)"
    rows = [
        ("the GPU", DEFAULT_GPU, "that of `dansm plan` where none is named"),
        (
            "speed of networks, training",
            f"{_percent(SHARE_OF_PEAK)} of {half / 1e12:g} TFLOP/s",
            "as in `dansm plan`: published trainings of such networks reach about this share",
        ),
        (
            "speed of networks, sampling",
            f"{_percent(SHARE_OF_PEAK)} of {single / 1e12:g} TFLOP/s",
            "as in `dansm plan`",
        ),
        (
            "speed of products in matching, float32",
            f"{_percent(SHARE_OF_PRODUCT)} of {FLOAT32_PEAK / 1e12:g} TFLOP/s",
            f"peak: {sheet}; share: assumed",
        ),
        (
            "reading the GPU's memory",
            f"{_percent(SHARE_OF_PRODUCT)} of {BANDWIDTH_PEAK / 1e12:g} TB/s",
            f"peak: {sheet}; share: assumed",
        ),
        (
            "memory that matching may have",
            f"{_percent(SHARE_OF_MEMORY)} of {_bytes(MEMORY)}",
            f"{sheet}; share: assumed",
        ),
        (
            "speed of drawing and assigning",
            f"as measured, {', '.join(processors)}, {', '.join(map(str, threads))} threads",
            "measured; each process is taken to have as many to itself",
        ),
        ("images of a step, on all GPUs together", f"{BATCH:,}", "assumed"),
        (
            "fit of potentials",
            f"batches of {FIT_BATCH:,}; evenness from {NOISES_PER_SAMPLE} noises a sample, "
            f"accepted up to {LARGEST_UNEVENNESS:g} times that of uniform draws",
            "the defaults of `fit_potentials`",
        ),
        ("evaluations of a teacher for a pair", f"{ADAPTIVE_EVALUATIONS}", "as in `dansm plan`"),
        (
            "what counts as too much time of the GPU",
            f"{_percent(NOTICED)} of training's",
            "our choice",
        ),
    ]
    return pd.DataFrame(rows, columns=["assumption", "value", "from"])


def _datasets(datasets: Sequence[tuple[Data, Training]], recipe: Recipe) -> pd.DataFrame:
    rows = [
        {
            "dataset": data.title,
            "images": f"{data.images:,}",
            "dimensions": f"{data.dimensions:,}",
            "store of pixels": _bytes(data.pixel_bytes),
            "store of latents": _bytes(data.latent_bytes),
            "forward pass": f"{training.flops / 1e9:.3g} GFLOP",
            "training images": f"{training.images:,}",
            "epochs": f"{training.images / data.images:.3g}",
            "ms an image": _ms(training.seconds()),
            "GPU-hours": _hours(training.images * training.seconds()),
            "snapshots of a run": _bytes(4 * training.parameters * recipe.snapshots),
        }
        for data, training in datasets
    ]
    return pd.DataFrame(rows)


def _of_dataset(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return what each coupling asks for, and how long training takes with it."""
    asks, hours = [], []
    for case, rows in table.groupby("case", sort=False):
        first = rows.iloc[0]
        asks.append(
            {
                "coupling": case.title,
                "GPU, ms an image": _ms(first["gpu"]),
                "CPU, ms an image": _ms(first["cpu"]),
                "memory of each GPU": _bytes(first["gpu_memory"]),
                "memory beside": _bytes(first["host_memory"]),
                "disk": _bytes(first["disk"]),
                "before: GPU-hours": _hours(first["before"]),
                "before, on the CPU: hours": _hours(first["before_on_cpu"]),
            }
        )
        by_gpus = rows.set_index("gpus")
        line = {"coupling": case.title}
        for gpus in GPUS:
            line[f"GPU-hours, {_gpus(gpus)}"] = _hours(3600 * by_gpus.loc[gpus, "gpu_hours"])
        for gpus in GPUS:
            line[f"hours, {_gpus(gpus)}"] = _hours(3600 * by_gpus.loc[gpus, "hours"])
        hours.append(line | {"too much": _too_much(rows)})
    return [pd.DataFrame(asks), pd.DataFrame(hours)]


def _too_much(rows: pd.DataFrame) -> str:
    found = []
    for name, text in _LIMITS.items():
        met = rows["gpus"][[name in limit for limit in rows["limit"]]]
        if len(met):
            where = "" if len(met) == len(GPUS) else f" on {', '.join(map(str, met))}"
            found.append(text + where)
    return "; ".join(found) or "–"


def _limits(datasets: Sequence[tuple[Data, Training]], costs: pd.DataFrame) -> pd.DataFrame:
    columns, none = {}, "–"
    for data, training in datasets:
        found, classes = limits_of(data, training, costs), data.classes > 1
        of_batch, within = (
            _each(f"{noises:,.0f}" for noises in each) for each in (found.batch, found.batch_within)
        )
        pools = _size(found.pool_within)
        columns[data.title] = {
            "`greedy`: match size that fills the memory": _size(found.pool_by_memory),
            "`greedy`: match size that is too much time of the GPU": _size(found.pool_by_time),
            "`greedy` within classes: match size that fills the memory": pools if classes else none,
            "`hungarian`, `immiscible`, `minibatch_ot`: samples assigned together for which "
            "training waits": _size(found.assigned),
            f"`immiscible`, `minibatch_ot`: noises to choose from on {_each(GPUS)} GPUs": of_batch,
            "the same within classes": within if classes else none,
            "`knn`: match size for which training waits": _size(found.candidates),
            "`semidiscrete`: images that fill the memory": _size(found.images_by_memory),
            "`semidiscrete`: images that are too much time of the GPU": _size(found.images_by_time),
            "`semidiscrete`: noises of a fit that is accepted": _size(fit_noises(data.images)),
            f"`loom`: exchanges of an image's noise in training on {_each(GPUS)} GPUs": _each(
                f"{visits:.2g}" for visits in found.visits
            ),
        }
    return pd.DataFrame(columns).rename_axis("").reset_index()


def _each(parts: object) -> str:
    return " / ".join(map(str, parts))


def _gpus(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"


def _size(number: float) -> str:
    """Return a number with two digits that count, as all that is calculated here deserves."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _ms(seconds: float) -> str:
    return "–" if seconds == 0 else f"{1e3 * seconds:.2g}"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return "–" if hours == 0 else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _bytes(count: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return "–" if count == 0 else f"{count:.0f} B"
