"""Searching grids for a finished run: what is written, and on which noises."""

import pytest
import torch

from dansm.errors import InputError
from dansm.io.files import read_json, sha256
from dansm.metrics.extractors import Extractor
from dansm.metrics.grid_search import read_grids, search_grid, search_noises
from dansm.metrics.statistics import ReferenceFeatures
from dansm.pairs.teacher import pair_noises
from dansm.randomness import image_noises

from ..factories import make_settings, write_run

SETTINGS = make_settings()
SEARCH = {"knots": 9, "noises": 4, "images": 12, "population": 3, "parents": 2, "rounds": 2}


def pixels(images):
    flat = images.reshape(len(images), -1)
    return flat[:, :5].float(), flat[:, :2].float().softmax(1)


EXTRACTOR = Extractor("classifier", "0123", torch.device("cpu"), pixels)


@pytest.fixture
def search(tmp_path, make_store):
    folder = write_run(tmp_path / "run", "vanilla", SETTINGS)
    store = make_store(
        torch.arange(40 * 16).reshape(40, 1, 4, 4).remainder(17).byte().numpy(), value_range=(0, 16)
    )
    reference = ReferenceFeatures.of(pixels(torch.tensor(store.array))[0].numpy())

    def search(grid, steps=3, metric=(EXTRACTOR, reference), **changes):
        path = tmp_path / f"{grid}-{steps}.json"
        search_grid(
            SETTINGS, folder, path, grid=grid, steps=steps, search=SEARCH | {"seed": 0} | changes,
            store=store, decode=lambda x: x, metric=metric,
        )  # fmt: skip
        return path, sha256(folder / "model.safetensors")

    return search


@pytest.mark.parametrize("grid", ["gits", "evolved"])
def test_a_search_writes_times_that_evaluations_read(search, grid):
    path, model = search(grid)
    ((found, times),) = read_grids([path], model).items()
    assert found == grid and [*times] == [3]
    assert all(time * 8 == int(time * 8) for time in times[3])
    assert read_grids([search(grid)[0]], model) == {grid: times}  # found again


def test_an_evolution_says_by_what_it_was_judged(search):
    found = read_json(search("evolved")[0])
    assert found["extractor"] == "classifier" and len(found["scores"]) == 2
    with pytest.raises(InputError, match="expected training images"):
        search("evolved", metric=None)


def test_more_steps_than_knots_are_refused(search):
    with pytest.raises(InputError, match="expected 1 to 8 for 9 knots, found 9"):
        search("gits", steps=9)


def test_noises_are_not_those_of_evaluations_or_pairs():
    mine = search_noises(0, 3, (1, 4, 4))
    for others in (image_noises(0, 3, (1, 4, 4)), pair_noises(0, range(3), (1, 4, 4))):
        assert not torch.isclose(mine, others).any()
