"""Evaluating a run: every measurement is there, and only the run's own files are measured."""

import shutil

import numpy as np
import pytest
import torch

from dansm.config import Network, RunSettings, Sampling
from dansm.errors import InputError
from dansm.evaluation.distances import frechet_distance
from dansm.evaluation.features import ReferenceFeatures
from dansm.evaluation.runs import Metric, RunEvaluator
from dansm.evaluation.table import read_table
from dansm.files import read_json, sha256, write_json
from dansm.models.networks import load_weights, make_network
from dansm.processes import PROCESSES
from dansm.randomness import image_noises
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
SAMPLING = Sampling(
    every_snapshot={"euler": [2, 3]},
    last_snapshot={"euler": [2, 3], "rk45": []},
    n_samples=20,
    batch_size=8,
    last_seed_ranges=2,
)


def pixels(images):
    """Features: the pixels themselves."""
    return images.reshape(len(images), -1).astype(float)[:, :5]


@pytest.fixture
def run(tmp_path, make_store):
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 4, 4), dtype=np.uint8)
    store = make_store(images, value_range=(0, 16))
    train(SETTINGS, store, tmp_path / "run")
    return store, tmp_path / "run"


def evaluator(run, settings=SETTINGS, sampling=SAMPLING):
    store, folder = run
    reference = ReferenceFeatures.of(pixels(np.asarray(store.array)))
    metrics = {"digit_classifier": Metric(pixels, reference)}
    return RunEvaluator(settings, sampling, folder, store, lambda latents: latents, metrics)


def test_the_table_holds_what_sampling_by_hand_gives(run, tmp_path):
    ours = evaluator(run)
    ours.evaluate(tmp_path / "distances.csv", tmp_path / "samples.npz")
    table = read_table(tmp_path / "distances.csv")
    frechet = table[table["metric"] == "frechet_distance"]
    assert len(frechet) == 2 + 3 * 2
    assert (table["metric"] == "kernel_distance").sum() == 3 * 2
    assert (frechet[frechet["steps"].notna()]["nfe"] == frechet["steps"].dropna()).all()
    assert (frechet[frechet["sampler"] == "rk45"]["nfe"] > 5).all()
    # By hand, all in one batch: the last snapshot, 3 steps, the second range of image seeds.
    store, folder = run
    network = make_network(SETTINGS.network, SETTINGS.shape).eval()
    load_weights(folder / "model.safetensors", network, {})
    with torch.no_grad():
        samples, _ = PROCESSES["rectified_flow"].sample(
            lambda x, t: network(x, t).sample, image_noises(20, 20, (1, 4, 4)), "euler", 3
        )
    expected = frechet_distance(
        pixels(store.to_stored_range(samples)), ours.metrics["digit_classifier"].reference
    )
    chosen = (table["steps"] == 3) & (table["seed_range"] == 1) & (table["images_seen"] == 32)
    found = table[chosen & (table["metric"] == "frechet_distance")]["value"].item()
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    with np.load(tmp_path / "samples.npz") as grids:
        assert set(grids) >= {"euler-2", "euler-3", "rk45-0", "euler-3-nfe", "value_range"}
        assert grids["euler-3"].shape == (20, 1, 4, 4)
        assert grids["euler-3"].dtype == np.uint8


def test_an_interrupted_evaluation_goes_on(run, tmp_path, monkeypatch):
    table = run[1] / "distances.csv"
    ours = evaluator(run)
    measure, measured = ours.measure, []

    def interrupted(task):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(task.key)
        return measure(task)

    monkeypatch.setattr(ours, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ours.evaluate(table, tmp_path / "samples.npz")
    notes = run[1] / "training" / "evaluation.jsonl"
    notes.write_text(notes.read_text()[:-7])  # the last line was cut short, too
    again = evaluator(run)
    measured_again = []
    real = again.measure
    monkeypatch.setattr(again, "measure", lambda t: (measured_again.append(t.key), real(t))[1])
    again.evaluate(table, tmp_path / "samples.npz")
    assert measured_again == [task.key for task in again.tasks()][3:]
    whole = tmp_path / "whole" / "distances.csv"
    evaluator(run).evaluate(whole, tmp_path / "samples.npz")
    assert table.read_bytes() == whole.read_bytes()


def test_a_snapshot_cut_short_is_named(run):
    path = sorted((run[1] / "snapshots").glob("*.safetensors"))[0]
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:500])
    with pytest.raises(InputError, match=rf"{path.name}: expected sha256 .* \(500 bytes\)"):
        evaluator(run)


def test_a_missing_snapshot_is_named(run):
    (run[1] / "snapshots" / "0000000016.safetensors").unlink()
    with pytest.raises(InputError, match=r"0000000016\.safetensors: expected .* found no file"):
        evaluator(run)


def test_a_snapshot_of_another_network_is_refused_even_with_a_fitting_checksum(run, tmp_path):
    store, folder = run
    wider = SETTINGS.network.model_copy(update={"channels": [8]})
    other = tmp_path / "other"
    train(SETTINGS.model_copy(update={"network": wider}), store, other)
    name = "0000000032.safetensors"
    (folder / "snapshots" / name).unlink()
    shutil.copy(other / "snapshots" / name, folder / "snapshots" / name)
    record = read_json(folder / "run.json")
    record["snapshots"][1]["sha256"] = sha256(folder / "snapshots" / name)
    write_json(folder / "run.json", record)
    with pytest.raises(InputError, match=f"{name}: weights of another run or network"):
        evaluator(run).evaluate(tmp_path / "d.csv", tmp_path / "s.npz")


def test_the_folder_of_another_run_is_refused(run):
    other = SETTINGS.model_copy(update={"seed": 7})
    with pytest.raises(InputError, match=r'run\.json: expected the run .*"seed": 7.*"seed": 0'):
        evaluator(run, settings=other)
