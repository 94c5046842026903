"""Single steps on files of one's own; the command line's tests go further."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dansm.catalogue import Pick
from dansm.couplings import make_coupling
from dansm.errors import InputError
from dansm.io.records import recorded
from dansm.single_steps import match_file, sample_run

from .factories import make_settings, write_run


def test_a_file_is_matched_by_a_coupling_with_options(tmp_path):
    samples = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", samples.numpy())
    pick = Pick("minibatch_ot", {"method": "sinkhorn", "regularisation": 2.0})
    options = {"coupling": pick, "seed": 1, "batch_size": 20}
    assert match_file(tmp_path / "x.npy", tmp_path / "pairs.npz", **options) == 40
    with np.load(tmp_path / "pairs.npz") as pairs:
        np.testing.assert_array_equal(pairs["samples"], samples[pairs["index"]])
        noise = make_coupling("minibatch_ot", seed=1, **pick.options).match(samples[:20])
        np.testing.assert_array_equal(pairs["noise"][:20], noise)
    with pytest.raises(InputError, match=r"x\.npy: .*match_size"):
        match_file(
            tmp_path / "x.npy", tmp_path / "no.npz", **options | {"coupling": Pick("greedy")}
        )


@pytest.mark.parametrize(
    ("sampler", "nfe"),
    [
        (Pick("euler"), 4),
        (Pick("heun"), 8),
        (Pick("euler", {"times": [0, 0.5, 1]}), 2),
        (Pick("rk45"), None),
    ],
)
def test_a_run_is_sampled_by_any_sampler(tmp_path, make_store, sampler, nfe):
    store = make_store(np.zeros((4, 1, 4, 4), np.uint8), (0, 16))
    folder = write_run(tmp_path / "run", "vanilla", make_settings())
    options = {"sampler": sampler, "steps": 4, "first": 2, "count": 3}
    (batch,) = sample_run(folder, store, lambda x: x, **options)
    assert batch.images.shape == (3, 1, 4, 4)
    assert batch.nfe == nfe if nfe else batch.nfe > 6


def test_a_sampler_that_does_not_suit_the_process_is_named(tmp_path, make_store):
    store = make_store(np.zeros((4, 1, 4, 4), np.uint8), (0, 16))
    folder = write_run(tmp_path / "run", "vanilla", make_settings())
    sampler = Pick("euler", {"grid": "original"})
    options = {"sampler": sampler, "steps": 4, "first": 0, "count": 3}
    with pytest.raises(InputError, match=r"run: rectified_flow: .*original"):
        list(sample_run(folder, store, lambda x: x, **options))


@pytest.mark.parametrize("link", [False, True])
def test_a_file_is_not_matched_into_itself(tmp_path, link):
    path = output = tmp_path / "a.npz"
    np.savez(path, samples=np.random.default_rng(0).random((20, 3)), labels=np.arange(20))
    if link:
        output = tmp_path / "l.npz"
        output.symlink_to(path)
    options = {"coupling": Pick("greedy", {"match_size": 10}), "seed": 0, "batch_size": 20}
    with pytest.raises(InputError, match=f"^{output}: expected another file than the input"):
        match_file(path, output, **options)
    assert sorted(np.load(path)) == ["labels", "samples"]


def make_cut(path):
    np.savez(path, samples=np.random.default_rng(0).random((20, 3)))
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    "make",
    [
        make_cut,
        lambda path: np.savez(path, samples=np.zeros((4, 0), "f4")),
        lambda path: np.savez(path, samples=np.zeros((0, 4), "f4")),
        lambda path: np.savez(path, samples=np.array([None])),
        lambda path: np.savez(path, others=np.zeros((4, 2), "f4")),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PK"),
        lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0{'descr': '<f4', 'shape': (9**99,)}"),
        lambda path: path.mkdir(),
        lambda path: None,
    ],
)
def test_a_file_without_samples_is_one_line(tmp_path, make):
    path = tmp_path / "a.npz"
    make(path)
    options = {"coupling": Pick("greedy", {"match_size": 10}), "seed": 0, "batch_size": 20}
    with pytest.raises(InputError, match=f"^{path}: expected ") as caught:
        match_file(path, tmp_path / "out.npz", **options)
    assert "\n" not in str(caught.value) and not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("output", [".", "..", "a folder", "x" * 300, "file/below.npz"])
def test_an_output_that_cannot_be_is_one_line(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).random((20, 3)))
    Path("a folder").mkdir()
    Path("file").touch()
    options = {"coupling": Pick("greedy", {"match_size": 10}), "seed": 0, "batch_size": 20}
    with pytest.raises(InputError) as caught:
        match_file(Path("x.npy"), Path(output), **options)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir()) == ["a folder", "file", "x.npy"]


def test_a_result_of_a_job_is_not_replaced(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3)))
    output = tmp_path / "results" / "samples.npz"
    with recorded(tmp_path / "results", "evaluate_run", "x", [output]):
        output.parent.mkdir(exist_ok=True)
        np.savez(output, images=np.zeros(3))
    options = {"coupling": Pick("greedy", {"match_size": 10}), "seed": 0, "batch_size": 20}
    with pytest.raises(InputError, match=f"^{output}: expected an output of its own, found a res"):
        match_file(tmp_path / "x.npy", output, **options)
    assert list(np.load(output)) == ["images"]
