"""Samples of noise-sample pairs: a finished model's own, or the dataset's."""

import numpy as np
import pytest
import torch

from dansm.catalogue import Pick
from dansm.errors import InputError
from dansm.io.tables import PATH_COLUMNS, read_table
from dansm.models.networks import make_network
from dansm.models.weights import load_weights
from dansm.pairs.draws import TrainedRun, draw_pairs
from dansm.pairs.paths import FIRST_IMAGE, PREFERABLE, RANDOM, Kind, measure_paths, read_pairs
from dansm.processes.samplers import Sampler
from dansm.randomness import generator

from ..factories import make_settings, write_run

SETTINGS = make_settings()
MANY = {"draws": 3, "count": 5, "match_sizes": [20, 40], "seed": 1}


@pytest.fixture
def run(tmp_path):
    return TrainedRun("vanilla", SETTINGS, write_run(tmp_path / "run", "vanilla", SETTINGS), 4)


@pytest.fixture
def stored(make_store):
    return make_store(np.random.default_rng(0).standard_normal((30, 2, 4, 4)).astype(np.float32))


def test_preferable_noises_are_those_the_finished_model_makes_the_samples_of(run, tmp_path):
    draw_pairs(tmp_path / "pairs.npz", runs=[run], store=None, pairs=None, **MANY)
    pairs = read_pairs(tmp_path / "pairs.npz")
    assert pairs.samples.shape == (3, 5, 1, 4, 4)
    assert [kind.name for kind in pairs.kinds] == ["random", "matched", "matched", "preferable"]
    noise = pairs.noises(PREFERABLE)
    alone = torch.randn(1, 4, 4, generator=generator(FIRST_IMAGE + 7, "image"))
    assert torch.equal(noise[1, 2], alone)
    network = make_network(SETTINGS.network, SETTINGS.shape).eval()
    load_weights(run.folder / "model.safetensors", network, {})
    with torch.no_grad():
        samples, _ = Sampler(SETTINGS.process, Pick("rk45")).sample(
            lambda x, t: network(x, t).sample, noise.flatten(0, 1)[4:8]
        )
    torch.testing.assert_close(pairs.samples.flatten(0, 1)[4:8], samples, rtol=0, atol=1e-5)


def test_each_model_has_draws_of_its_own_noises(run, tmp_path):
    settings = SETTINGS.model_copy(update={"seed": 7})
    other = TrainedRun("vanilla", settings, write_run(tmp_path / "other", "vanilla", settings), 4)
    draw_pairs(tmp_path / "pairs.npz", runs=[run, other], store=None, pairs=None, **MANY)
    pairs = read_pairs(tmp_path / "pairs.npz")
    assert pairs.models == (SETTINGS.seed,) * 3 + (7,) * 3
    noise = pairs.noises(PREFERABLE)
    assert torch.equal(
        noise[3, 0], torch.randn(1, 4, 4, generator=generator(FIRST_IMAGE + 15, "image"))
    )
    alone = other.generate(other.load(), 5, 20)
    torch.testing.assert_close(pairs.samples[4], alone, rtol=0, atol=1e-5)
    measure_paths(pairs, [5], "toy", tmp_path / "paths.csv")
    found = read_table(tmp_path / "paths.csv", PATH_COLUMNS)
    models = found.drop_duplicates("draw").set_index("draw")["seed"]
    assert models.tolist() == list(pairs.models)


def test_without_a_model_samples_are_stored_ones_and_none_is_preferable(stored, tmp_path):
    draw_pairs(tmp_path / "pairs.npz", runs=[], store=stored, pairs=None, **MANY)
    pairs = read_pairs(tmp_path / "pairs.npz")
    rows = {row.tobytes() for row in stored.array}
    found = [sample.numpy().tobytes() for sample in pairs.samples.flatten(0, 1)]
    assert set(found) <= rows
    assert all(len(set(found[5 * draw : 5 * draw + 5])) == 5 for draw in range(3))
    assert pairs.kinds == [RANDOM, Kind("matched", "greedy", 20), Kind("matched", "greedy", 40)]


def test_a_store_too_small_is_named(make_store, tmp_path):
    store = make_store(np.zeros((4, 1, 2, 2), np.float32))
    with pytest.raises(InputError, match="expected 5 samples, found 4"):
        draw_pairs(tmp_path / "pairs.npz", runs=[], store=store, pairs=None, **MANY)


def test_a_model_of_another_run_is_refused(run):
    other = run._replace(settings=SETTINGS.model_copy(update={"seed": 7}))
    with pytest.raises(InputError, match=r"model\.safetensors: weights of another run"):
        other.load()
