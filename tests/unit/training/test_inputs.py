"""What a run's coupling is told: exactly what its entry needs, of the dataset or of a teacher."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dansm.catalogue import COUPLINGS, Pick
from dansm.couplings import Batch, Greedy, Paired, Potentials, Semidiscrete, fit_potentials
from dansm.errors import InputError
from dansm.training.inputs import coupling_inputs, fit_dataset_potentials, make_run_coupling

COVARIANCE = Pick("semidiscrete", {"metric": "covariance"})
TEACHER = Pick("teacher_pairs", {"teacher": "vanilla", "sampler": "heun", "count": 3, "steps": 5})


@pytest.fixture
def store(make_store):
    return make_store(np.random.default_rng(0).standard_normal((6, 1, 2, 2)).astype(np.float32))


@pytest.fixture
def pairs():
    noise, samples = torch.randn(2, 3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return SimpleNamespace(noise=noise, samples=samples, meta={"count": 3})


@pytest.fixture
def potentials(store, tmp_path):
    fitted = fit_potentials(
        store.batch(np.arange(6)), seed=0, steps=2, metric="covariance", progress=False
    )
    fitted.save(tmp_path / "potentials.npz")
    return tmp_path / "potentials.npz"


@pytest.mark.parametrize("name", [name for name, entry in COUPLINGS.items() if entry.configurable])
def test_a_coupling_is_told_what_its_entry_needs(store, pairs, potentials, name):
    pick = {"semidiscrete": COVARIANCE, "teacher_pairs": TEACHER}.get(name, Pick(name))
    needs = COUPLINGS[name].needs
    # Of given pairs also how many of them were generated.
    needs |= {"generated"} if "noise" in needs else set()
    assert coupling_inputs(pick, store, potentials, pairs).keys() == needs


def test_runs_have_the_coupling_they_pick(store, pairs, potentials):
    greedy = make_run_coupling(Pick("greedy", {"match_size": 5}), 7, {})
    assert type(greedy) is Greedy and (greedy.match_size, greedy.seed) == (5, 7)
    semidiscrete = make_run_coupling(COVARIANCE, 7, coupling_inputs(COVARIANCE, store, potentials))
    assert type(semidiscrete) is Semidiscrete and semidiscrete.metric == "covariance"
    paired = make_run_coupling(TEACHER, 7, coupling_inputs(TEACHER, store, pairs=pairs))
    assert type(paired) is Paired
    (found,) = paired.pairs([Batch(torch.zeros(2, 1, 2, 2), {"row": torch.tensor([2, 0])})])
    assert torch.equal(found.noise, pairs.noise[[2, 0]])
    assert torch.equal(found.samples, pairs.samples[[2, 0]])


def test_potentials_that_use_samples_unevenly_are_refused(store, tmp_path, capsys):
    path = tmp_path / "potentials.npz"
    few = {"seed": 0, "steps": 1, "batch_size": 2, "progress": False}
    with pytest.raises(
        InputError,
        match=r"potentials\.npz: expected samples used evenly, .* up to 2 times that of uniform "
        r"draws, 0\.04.*; found .*: fit with more steps .*takes up .*refused\.npz without fitting",
    ):
        fit_dataset_potentials(store, path, **few)
    assert not path.exists() and "chi_square=" in capsys.readouterr().out
    fit_dataset_potentials(store, path, **few | {"steps": 2000})
    assert Potentials.load(path, store.batch(np.arange(6))).steps == 2000
    assert [*tmp_path.glob(".*")] == []


@pytest.mark.parametrize("accepted", [1000, None])
def test_refused_potentials_are_taken_up_where_they_are_accepted(
    store, tmp_path, monkeypatch, accepted
):
    path = tmp_path / "potentials.npz"
    few = {"seed": 0, "steps": 1, "batch_size": 2, "progress": False}
    with pytest.raises(InputError):
        fit_dataset_potentials(store, path, **few)
    (kept,) = tmp_path.glob(".potentials.*.refused.npz")
    expected = kept.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("dansm.training.inputs.fit_potentials", None)
        with pytest.raises(InputError, match=r"found .*: fit with more steps"):
            fit_dataset_potentials(store, path, **few, largest_unevenness=2.1)
        # Those of other settings, another dataset or damaged are fitted anew.
        with pytest.raises(TypeError):
            fit_dataset_potentials(store, path, **few | {"seed": 1}, largest_unevenness=accepted)
        kept.write_bytes(expected[:-30])
        with pytest.raises(TypeError):
            fit_dataset_potentials(store, path, **few, largest_unevenness=accepted)
        kept.write_bytes(expected)
        fit_dataset_potentials(store, path, **few, largest_unevenness=accepted)
    assert path.read_bytes() == expected and not kept.exists()


def test_missing_and_foreign_inputs_are_named(store, potentials, tmp_path):
    with pytest.raises(InputError, match="coupling semidiscrete: expected potentials, found none"):
        coupling_inputs(COVARIANCE, store)
    with pytest.raises(InputError, match="coupling teacher_pairs: expected noise, found none"):
        coupling_inputs(TEACHER, store)
    with pytest.raises(InputError, match=r"potentials\.npz: .*metric 'euclidean', found .*covaria"):
        coupling_inputs(Pick("semidiscrete"), store, potentials)
    with pytest.raises(InputError, match=r"none\.npz: expected potentials, found no file"):
        coupling_inputs(COVARIANCE, store, tmp_path / "none.npz")
