"""Searching a time grid for a finished run; see `dansm.processes.searching`."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from dansm.config import RunSettings
from dansm.couplings.registry import Pick
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import read_model, sha256, write_json
from dansm.io.run_folder import MODEL
from dansm.metrics.distances import frechet_distance
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.sampling import DECODED_AT_ONCE, Decode
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.trained import load_model
from dansm.processes.grids import uniform
from dansm.processes.objective import make_process
from dansm.processes.samplers import Sampler
from dansm.processes.searching import cheapest_times, evolved_times
from dansm.randomness import generator, normal

_BATCH = 256


class FoundGrid(BaseModel, extra="allow"):
    """What a search wrote: the times of a grid for a number of steps, and of which model."""

    grid: str
    steps: int = Field(ge=1)
    times: list[float] = Field(min_length=2)
    model_sha256: str


def search_noises(seed: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """Return noises of searches, which no evaluation and no pair begins with."""
    return torch.stack([normal(shape, generator(seed, "grid", k)) for k in range(count)])


def search_grid(
    settings: RunSettings,
    folder: Path,
    path: Path,
    *,
    grid: str,
    steps: int,
    search: Mapping[str, Any],
    store: Store,
    decode: Decode,
    metric: tuple[Extractor, ReferenceFeatures] | None = None,
) -> None:
    """Write the times that a search finds for a finished run, as JSON.

    Parameters
    ----------
    settings, folder
        The run.
    path
        The file.
    grid
        ``gits`` or ``evolved``.
    steps
        Of Euler's method.
    search
        Of `dansm.config.searches.GridSearch`.
    store, decode
        What images are compared as.
    metric
        Of ``evolved``: a feature extractor with the features of training images.

    Raises
    ------
    InputError
        If the run is not finished, or there are fewer knots than steps.
    """
    network = load_model(folder, settings)
    device = next(network.parameters()).device
    process = make_process(settings.process)
    knots = uniform(search["knots"] - 1, None)
    found: dict[str, Any] = {}

    def predict(points: Tensor, conditions: Tensor) -> Tensor:
        return network(points, conditions).sample

    with torch.inference_mode():
        if grid == "gits":
            noise = search_noises(search["seed"], search["noises"], settings.shape).to(device)
            times = cheapest_times(process, predict, noise, knots, steps)
        else:
            if metric is None:
                raise InputError(f"grid {grid}: expected training images to compare with")
            extractor, reference = metric
            noise = search_noises(search["seed"], search["images"], settings.shape).to(device)

            def score(times: list[Fraction]) -> float:
                numbers = tuple(float(time) for time in times)
                sampler = Sampler(process, Pick("euler", {"times": numbers}))
                parts = []
                for batch in noise.split(_BATCH):
                    samples = sampler.sample(predict, batch).samples
                    parts += [
                        extractor(store.to_stored_range(decode(part)))
                        for part in samples.split(DECODED_AT_ONCE)
                    ]
                return frechet_distance(Features.joined(parts), reference)

            times, scores = evolved_times(
                score,
                knots,
                steps,
                generator(search["seed"], "evolution", steps),
                **{key: search[key] for key in ("population", "parents", "rounds")},
            )
            found = {"extractor": extractor.name, "scores": scores}
    found |= {"grid": grid, "steps": steps, "times": [float(time) for time in times]}
    write_json(path, found | {"model_sha256": sha256(folder / MODEL), "search": dict(search)})


def read_grids(paths: Sequence[Path], model_sha256: str) -> dict[str, dict[int, list[float]]]:
    """Return the times that searches found for a model, by grid and number of steps.

    Raises
    ------
    InputError
        If a file is missing, is no grid, or is of another model.
    """
    grids: dict[str, dict[int, list[float]]] = {}
    for path in paths:
        found = read_model(Path(path), FoundGrid)
        if found.model_sha256 != model_sha256:
            raise InputError(
                f"{path}: expected times searched for the model {model_sha256}, found those of "
                f"{found.model_sha256}"
            )
        rising = found.times == sorted(set(found.times)) and found.times[:: len(found.times) - 1]
        if rising != [0, 1] or len(found.times) != found.steps + 1:
            raise InputError(
                f"{path}: expected {found.steps + 1} rising times from 0 to 1, found {found.times}"
            )
        grids.setdefault(found.grid, {})[found.steps] = found.times
    return grids
