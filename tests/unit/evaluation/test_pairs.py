"""Noise-sample pairs: whose samples, which noises, and what is measured of their paths."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from dansm.config import Network, RunSettings
from dansm.errors import InputError
from dansm.evaluation.pairs import (
    FIRST_IMAGE,
    PREFERABLE,
    RANDOM,
    Kind,
    PairDraws,
    TrainedRun,
    draw_pairs,
    measure_paths,
    read_pairs,
)
from dansm.evaluation.table import PATH_COLUMNS, read_table
from dansm.models.networks import load_weights, make_network
from dansm.processes import PROCESSES
from dansm.randomness import generator
from dansm.training import train

SETTINGS = RunSettings(
    dataset="toy",
    shape=(1, 4, 4),
    horizontal_flips=False,
    process="rectified_flow",
    coupling="independent",
    match_size=0,
    seed=0,
    network=Network(channels=[4], layers_per_block=1, attention_at=[], dropout=0, norm_groups=2),
    batch_size=8,
    learning_rate=1e-3,
    ema_decay=0.9,
    gradient_clip=1.0,
    mixed_precision="no",
    budget_images=32,
    snapshots=2,
)
MANY = {"draws": 3, "count": 5, "match_sizes": [20, 40], "seed": 1}
MATCHED = Kind("matched", "greedy", 40)


@pytest.fixture
def run(tmp_path, make_store):
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 4, 4), dtype=np.uint8)
    train(SETTINGS, make_store(images, value_range=(0, 16)), tmp_path / "run")
    return TrainedRun(SETTINGS, tmp_path / "run", 4)


@pytest.fixture
def stored(make_store):
    return make_store(np.random.default_rng(0).standard_normal((30, 2, 4, 4)).astype(np.float32))


def test_preferable_noises_are_those_the_finished_model_makes_the_samples_of(run, tmp_path):
    draw_pairs(tmp_path / "pairs.npz", run=run, store=None, **MANY)
    pairs = read_pairs(tmp_path / "pairs.npz")
    assert pairs.samples.shape == (3, 5, 1, 4, 4)
    assert [kind.name for kind in pairs.kinds] == ["random", "matched", "matched", "preferable"]
    noise = pairs.noises(PREFERABLE)
    alone = torch.randn(1, 4, 4, generator=generator(FIRST_IMAGE + 7, "image"))
    assert torch.equal(noise[1, 2], alone)
    network = make_network(SETTINGS.network, SETTINGS.shape).eval()
    load_weights(run.folder / "model.safetensors", network, {})
    with torch.no_grad():
        samples, _ = PROCESSES["rectified_flow"].sample(
            lambda x, t: network(x, t).sample, noise.flatten(0, 1)[4:8], "rk45", 0
        )
    torch.testing.assert_close(pairs.samples.flatten(0, 1)[4:8], samples, rtol=0, atol=1e-5)


def test_without_a_model_samples_are_stored_ones_and_none_is_preferable(stored, tmp_path):
    draw_pairs(tmp_path / "pairs.npz", run=None, store=stored, **MANY)
    pairs = read_pairs(tmp_path / "pairs.npz")
    rows = {row.tobytes() for row in stored.array}
    found = [sample.numpy().tobytes() for sample in pairs.samples.flatten(0, 1)]
    assert set(found) <= rows
    assert all(len(set(found[5 * draw : 5 * draw + 5])) == 5 for draw in range(3))
    assert pairs.kinds == [RANDOM, Kind("matched", "greedy", 20), MATCHED]


def test_a_store_too_small_is_named(make_store, tmp_path):
    store = make_store(np.zeros((4, 1, 2, 2), np.float32))
    with pytest.raises(InputError, match="expected 5 samples, found 4"):
        draw_pairs(tmp_path / "pairs.npz", run=None, store=store, **MANY)


def test_a_model_of_another_run_is_refused(run):
    other = run._replace(settings=SETTINGS.model_copy(update={"seed": 7}))
    with pytest.raises(InputError, match=r"model\.safetensors: weights of another run"):
        other.load()


def test_matched_noises_are_of_all_of_a_pools_life():
    """The samples are alike, so the noise nearest of those left is the best of a shrinking pool."""
    sample = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))

    def noises(draws, count):
        samples = sample.expand(draws, count, 1, 4, 4).clone()
        return PairDraws(samples, generated=False, match_sizes=(40,), seed=3).noises(MATCHED)

    pool = noises(1, 40)[0]
    lengths = (pool - sample).flatten(1).norm(dim=1)
    assert torch.equal(lengths, lengths.sort().values)
    assert len(lengths.unique()) == 40  # each noise once, the nearest first
    first, second = noises(2, 4)
    assert torch.equal(first, pool[[0, 10, 20, 30]])
    assert not torch.isin(second, pool).any()  # of a pool of its own
    # More samples than noises take several whole pools, as far as possible evenly: 0, 1, 3, 4 …
    assert torch.equal(noises(1, 60)[0][:27], pool[[k * 80 // 60 for k in range(27)]])


def test_random_noises_are_gaussian_and_their_own():
    pairs = PairDraws(torch.zeros(10, 50, 1, 4, 4), generated=True, match_sizes=(20,), seed=3)
    noise = pairs.noises(RANDOM)
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(noise, pairs.noises(PREFERABLE))
    assert not torch.equal(noise, pairs._replace(seed=4).noises(RANDOM))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": np.zeros((2, 3, 4), np.float32)}, r"\(2, 3, 4\)"),
        ({"samples": np.full((1, 3, 1, 2, 2), np.nan, np.float32)}, "expected finite samples"),
        ({"noise": np.zeros(3)}, "expected arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    arrays = {"samples": np.zeros((1, 3, 1, 2, 2), np.float32), "generated": np.array(True)}
    arrays |= {"match_sizes": np.array([2]), "seed": np.array(0)}
    np.savez(tmp_path / "pairs.npz", **arrays | changes)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / "pairs.npz")
    with pytest.raises(InputError, match=r"none\.npz: expected .* found no file"):
        read_pairs(tmp_path / "none.npz")


def test_paths_are_measured_as_by_hand(tmp_path):
    samples = torch.randn(2, 7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pairs = PairDraws(samples, generated=True, match_sizes=(20,), seed=3)
    measure_paths(pairs, [2, 3], "toy", tmp_path / "paths.csv")
    table = read_table(tmp_path / "paths.csv", PATH_COLUMNS, "paths")
    assert len(table) == 3 * 2 * (3 + 2)
    assert set(table["dataset"]) == {"toy"}
    for kind in pairs.kinds:
        noises = pairs.noises(kind).double().numpy().reshape(2, 7, 16)
        own = table[(table["kind"] == kind.name) & (table["match_size"] == kind.match_size)]
        assert set(own["coupling"]) == {kind.coupling}
        for draw in range(2):
            x, z = samples[draw].double().numpy().reshape(7, 16), noises[draw]
            rows = own[own["draw"] == draw]
            found = {(r.quantity, r.pairs): r.value for r in rows.itertuples()}
            # Distances of all paths to each other at many times.
            times = np.linspace(0, 1, 2001)[:, None, None]
            points = (1 - times) * z + times * x
            apart = np.array([cdist(at, at) for at in points]).min(0)
            average = apart.sum() / (7 * 6)
            np.fill_diagonal(apart, np.inf)
            assert found["path_length", 7] == pytest.approx(np.linalg.norm(x - z, axis=1).mean())
            assert found["inter_path_average", 7] == pytest.approx(average, rel=1e-4)
            assert found["inter_path_minimum", 7] == pytest.approx(apart.min(1).mean(), rel=1e-4)
            for size in (2, 3):
                nearest = []
                for first in range(0, 7 - size + 1, size):
                    part = slice(first, first + size)
                    nearest += list(cdist(x[part], z[part]).argmin(1) == np.arange(size))
                assert found["nearest_share", size] == pytest.approx(np.mean(nearest))
