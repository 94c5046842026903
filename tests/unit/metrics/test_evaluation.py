"""Evaluating a run: every measurement is there, and only the run's own files are measured."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from dansm.catalogue import Pick
from dansm.errors import InputError
from dansm.io.files import read_json, sha256, write_json
from dansm.io.tables import DISTANCE_COLUMNS, read_table, run_columns
from dansm.metrics.distances import frechet_distance, measure
from dansm.metrics.evaluation import RunEvaluator
from dansm.metrics.extractors import Extractor, Features
from dansm.metrics.grid_search import read_grids
from dansm.metrics.memorising import Memorising
from dansm.metrics.statistics import ReferenceFeatures
from dansm.models.networks import make_network
from dansm.models.weights import load_weights
from dansm.processes.samplers import Sampler
from dansm.randomness import image_noises

from ..factories import make_sampling, make_settings, write_run

SETTINGS = make_settings()
SAMPLING = make_sampling()


def pixels(images):
    """Features: five pixels."""
    return images.reshape(len(images), -1)[:, :5].float()


def shares(images):
    """Probabilities of classes: the shares of the brightness that the rows have."""
    rows = images.float().sum(dim=(1, 3)) + 1
    return rows / rows.sum(dim=1, keepdim=True)


EXTRACTOR = Extractor("classifier", "0123", torch.device("cpu"), lambda x: (pixels(x), shares(x)))


@pytest.fixture
def run(tmp_path, make_store):
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 4, 4), dtype=np.uint8)
    store = make_store(images, value_range=(0, 16))
    return store, write_run(tmp_path / "run", "vanilla", SETTINGS)


def evaluator(run, settings=SETTINGS, sampling=SAMPLING, name="vanilla", memorising=None):
    store, folder = run
    features = pixels(torch.tensor(store.array)).numpy()
    parts = {"training": features[:30], "held_out": features[30:]}
    metrics = [(EXTRACTOR, {part: ReferenceFeatures.of(of) for part, of in parts.items()})]
    decode = torch.nn.Identity()
    return RunEvaluator(name, settings, sampling, folder, store, decode, metrics, memorising)


def evaluate(ours, folder):
    ours.evaluate(folder / "distances.csv", folder / "samples.npz", folder / "evaluation.json")
    return read_table(folder / "distances.csv", DISTANCE_COLUMNS)


GRID = {"grid": "gits", "steps": 3, "times": [0, 0.2, 0.6, 1]}


def test_searched_times_are_sampled_and_named_in_the_description(run, tmp_path):
    store, folder = run
    model = sha256(folder / "model.safetensors")
    path = tmp_path / "gits-3.json"
    write_json(path, GRID | {"model_sha256": model})
    samplers = {"euler": {"euler": {"grid": "gits"}}}
    sampling = make_sampling(
        each_snapshot={}, final={"euler": [3]}, final_one_set={}, samplers=samplers
    )
    features = ReferenceFeatures.of(pixels(torch.tensor(store.array)).numpy())
    metrics = [(EXTRACTOR, {"training": features})]
    ours = RunEvaluator(
        "vanilla", SETTINGS, sampling, folder, store, lambda x: x, metrics, searched=[path]
    )
    table = evaluate(ours, tmp_path)
    assert set(table["nfe"]) == {3}
    assert read_json(tmp_path / "evaluation.json")["searched"] == {"gits": {"3": GRID["times"]}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model_sha256": "0" * 64}, "expected times searched for the model"),
        ({"times": [0, 0.6, 0.2, 1]}, "expected 4 rising times from 0 to 1"),
        ({"times": [0.1, 0.2, 0.6, 1]}, "expected 4 rising times from 0 to 1"),
        ({"times": [0, 0.2, 1]}, "expected 4 rising times from 0 to 1"),
        ({"steps": 0}, "steps"),
    ],
)
def test_a_searched_grid_that_is_damaged_or_of_another_model_is_refused(
    tmp_path, changes, expected
):
    path = tmp_path / "gits-3.json"
    write_json(path, GRID | {"model_sha256": "1" * 64} | changes)
    with pytest.raises(InputError, match=expected):
        read_grids([path], "1" * 64)


def sampled_by_hand(run, first=20):
    """All in one batch: the last snapshot, 3 steps, by default the second set of images."""
    store, folder = run
    network = make_network(SETTINGS.network, SETTINGS.shape).eval()
    load_weights(folder / "model.safetensors", network, {})
    with torch.no_grad():
        samples, _ = Sampler(SETTINGS.process, Pick("euler")).sample(
            lambda x, t: network(x, t).sample, image_noises(first, 20, (1, 4, 4)), 3
        )
    return store.to_stored_range(samples)


def test_the_table_holds_what_sampling_by_hand_gives(run, tmp_path):
    ours = evaluator(run)
    table = evaluate(ours, tmp_path)
    for name, value in run_columns("vanilla", SETTINGS).items():
        assert (table[name].isna() if value is None else table[name] == value).all()
    frechet = table[table["metric"] == "frechet_distance"]
    assert (
        table.groupby("metric")["reference"].value_counts().groupby("metric").nunique() == 1
    ).all()
    assert len(frechet) == 2 * (2 + 3 * 2 + 1)
    for metric in ("kernel_distance", "precision", "recall", "classifier_score"):
        of_metric = table[table["metric"] == metric]
        assert len(of_metric) == 2 * (3 * 2 + 1)
        assert (of_metric["images_seen"] == 32).all()
    assert (frechet[frechet["steps"].notna()]["nfe"] == frechet["steps"].dropna()).all()
    assert (frechet[frechet["sampler"] == "rk45"]["nfe"] > 5).all()
    images = sampled_by_hand(run)
    ((_, references),) = ours.metrics
    by_hand = Features(pixels(images).numpy(), shares(images).numpy())
    chosen = (table["steps"] == 3) & (table["image_set"] == 1) & (table["images_seen"] == 32)
    for part, reference in references.items():
        expected = measure(by_hand, reference, EXTRACTOR, everything=True)
        assert expected[0].value == frechet_distance(by_hand, reference)
        found = table[chosen & (table["reference"] == part)].set_index("metric")
        assert len(found) == len(expected)
        for metric, value, count in expected:
            assert found.loc[metric, "value"] == pytest.approx(value, rel=1e-6)
            assert found.loc[metric, "n_samples"] == count <= 20
    with np.load(tmp_path / "samples.npz") as grids:
        assert set(grids) >= {"euler-2", "euler-3", "rk45-0", "euler-3-nfe", "value_range"}
        assert grids["euler-3"].shape == (20, 1, 4, 4)
        assert grids["euler-3"].dtype == np.uint8


def test_the_description_names_run_weights_and_references(run, tmp_path):
    evaluate(evaluator(run), tmp_path)
    found = read_json(tmp_path / "evaluation.json")
    assert found["run_sha256"] == sha256(run[1] / "run.json")
    assert found["sampling"] == SAMPLING.plain()
    assert found["features"] == {
        "classifier": {
            "weights_sha256": "0123",
            "real_images": {"training": 30, "held_out": 10},
            "real_images_kept": {"training": 30, "held_out": 10},
        }
    }
    assert set(found["provenance"]) >= {"commit", "versions", "hardware"}


def test_an_interrupted_evaluation_goes_on(run, tmp_path, monkeypatch):
    ours = evaluator(run)
    measure, measured = ours.measure, []

    def interrupted(task, progress):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(task.key)
        return measure(task, progress)

    monkeypatch.setattr(ours, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(ours, run[1])
    notes = run[1] / "training" / "evaluation.jsonl"
    notes.write_text(notes.read_text()[:-7])  # the last line was cut short, too
    again = evaluator(run)
    measured_again = []
    real = again.measure
    monkeypatch.setattr(again, "measure", lambda *a: (measured_again.append(a[0].key), real(*a))[1])
    evaluate(again, run[1])
    assert measured_again == [task.key for task in again.tasks()][3:]
    whole = tmp_path / "whole"
    evaluate(evaluator(run), whole)
    table = (run[1] / "distances.csv").read_bytes()
    assert table == (whole / "distances.csv").read_bytes()
    with np.load(run[1] / "samples.npz") as found, np.load(whole / "samples.npz") as expected:
        assert set(found) == set(expected)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])


def test_the_grids_show_images_that_were_measured(run, tmp_path, monkeypatch):
    monkeypatch.setattr("dansm.metrics.evaluation.GRID_IMAGES", 12)
    evaluate(evaluator(run), tmp_path)
    with np.load(tmp_path / "samples.npz") as grids:
        found = grids["euler-3"]
    np.testing.assert_array_equal(found, sampled_by_hand(run, first=0)[:12].numpy())


@pytest.fixture
def memorising(run, make_store):
    images = np.random.default_rng(1).integers(0, 17, (30, 1, 4, 4), dtype=np.uint8)
    stores = run[0], make_store(images, value_range=(0, 16), name="held_out")
    features = (pixels(torch.tensor(store.array)).numpy() for store in stores)
    return Memorising(*stores, {"classifier": tuple(features)})


def test_the_last_snapshots_images_are_compared_with_held_out_ones(run, memorising, tmp_path):
    table = evaluate(evaluator(run, memorising=memorising), tmp_path)
    rows = table[table["metric"].isin(["nearer_to_training", "copies"])]
    assert len(rows) == (3 * 2 + 1) * 2 * 2
    assert (rows["images_seen"] == 32).all() and (rows["n_samples"] == 20).all()
    images = sampled_by_hand(run).reshape(20, 16).double()
    near, far = (
        torch.cdist(images, torch.tensor(store.array).reshape(-1, 16).double())
        for store in memorising.stores
    )
    chosen = memorising.spaces[0]._order[:30]  # as many as there are held-out images
    expected = (near[:, chosen].amin(1) < far.amin(1)).double().mean().item()
    found = rows[(rows["steps"] == 3) & (rows["image_set"] == 1)]
    found = found.set_index(["feature_extractor", "metric"])["value"]
    ties = (near[:, chosen].amin(1) == far.amin(1)).double().mean().item() / 2
    assert found["pixels", "nearer_to_training"] == pytest.approx(expected + ties)
    features = pixels(sampled_by_hand(run)).numpy()
    again = memorising.measure(sampled_by_hand(run), {"classifier": features})
    assert found.to_dict() == {(r["feature_extractor"], r["metric"]): r["value"] for r in again}
    rest = table[~table["metric"].isin(["nearer_to_training", "copies"])]
    without = evaluate(evaluator(run), tmp_path / "without")
    assert rest.reset_index(drop=True).equals(without)


def test_images_nearest_to_training_images_are_kept_with_both_neighbours(run, memorising, tmp_path):
    evaluate(evaluator(run, memorising=memorising), tmp_path)
    with np.load(tmp_path / "samples.npz") as grids:
        assert grids["nearest-of"] == "euler-3"  # of four steps there is one set only
        shown, rows, ratios = (grids[f"nearest{part}"] for part in ("", "-rows", "-ratios"))
    images = sampled_by_hand(run, first=0).numpy()
    np.testing.assert_array_equal(shown[0], images[rows[0]])
    away = []
    for store, kind, row in zip(memorising.stores, shown[1:], rows[1:], strict=True):
        np.testing.assert_array_equal(kind, store.array[row])
        gaps = images[rows[0]].astype(float)[:, None] - store.array
        away.append(np.square(gaps).sum(axis=(2, 3, 4)).min(axis=1) ** 0.5)
        own = np.square(kind.astype(float) - shown[0]).sum(axis=(1, 2, 3)) ** 0.5
        np.testing.assert_allclose(own, away[-1])
    np.testing.assert_allclose(ratios, away[0] / away[1])
    assert (np.diff(ratios) >= 0).all() and len(ratios) == 8


def test_what_is_remembered_survives_an_interruption(run, memorising, tmp_path, monkeypatch):
    first = evaluator(run, memorising=memorising)
    monkeypatch.setattr(first, "save_grids", lambda path: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        evaluate(first, run[1])
    evaluate(evaluator(run, memorising=memorising), run[1])
    evaluate(evaluator(run, memorising=memorising), tmp_path / "whole")
    for name in ("distances.csv", "samples.npz"):
        assert (run[1] / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


KEEPING = SAMPLING.model_copy(update={"keep_png": True})


def test_kept_images_are_those_that_were_measured(run, tmp_path):
    kept = run[1] / "png"
    (kept / "euler-9").mkdir(parents=True)  # of an evaluation with other step counts
    table = evaluate(evaluator(run, sampling=KEEPING), run[1])
    folders = {path.relative_to(kept).as_posix() for path in kept.glob("*/*")}
    twice = {f"{s}/set{k}" for s in ("euler-2", "euler-3", "rk45-0") for k in (0, 1)}
    assert folders == twice | {"euler-4/set0"}
    assert not (kept / "euler-9").exists()
    files = sorted((kept / "euler-3" / "set1").iterdir())
    assert [path.name for path in files] == [f"{k:06d}.png" for k in range(20)]
    expected = sampled_by_hand(run)[:, 0].numpy().astype(float)
    found = np.stack([np.asarray(Image.open(path)) for path in files])
    assert np.ptp(found) > 17
    np.testing.assert_array_equal(np.rint(found * (16 / 255)), expected)
    without = evaluate(evaluator(run), run[1])
    assert table.equals(without)
    assert not kept.exists()  # the evaluation that keeps none has none


def test_sets_of_images_that_are_whole_survive_an_interruption(run, tmp_path, monkeypatch):
    ours = evaluator(run, sampling=KEEPING)
    measure, done = ours.measure, []

    def interrupted(task, progress):
        done.append(task)
        if len(done) == 5:  # two of the first snapshot, two of the last, then this
            cut = task.png_folder
            (run[1] / "png" / cut).mkdir(parents=True)
            (run[1] / "png" / cut / "000099.png").touch()
            raise KeyboardInterrupt
        return measure(task, progress)

    monkeypatch.setattr(ours, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(ours, run[1])
    whole = run[1] / "png" / done[3].png_folder
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    assert len(before) == 20
    evaluate(evaluator(run, sampling=KEEPING), run[1])
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before
    assert all(len(list(folder.iterdir())) == 20 for folder in (run[1] / "png").glob("*/*"))


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
    _, folder = run
    wider = SETTINGS.network.model_copy(update={"channels": [8]})
    other = tmp_path / "other"
    write_run(other, "vanilla", SETTINGS.model_copy(update={"network": wider}))
    name = "0000000032.safetensors"
    (folder / "snapshots" / name).unlink()
    shutil.copy(other / "snapshots" / name, folder / "snapshots" / name)
    record = read_json(folder / "run.json")
    record["snapshots"][1]["sha256"] = sha256(folder / "snapshots" / name)
    write_json(folder / "run.json", record)
    with pytest.raises(InputError, match=f"{name}: weights of another run or network"):
        evaluate(evaluator(run), tmp_path)


def test_the_folder_of_another_run_is_refused(run):
    other = SETTINGS.model_copy(update={"seed": 7})
    with pytest.raises(InputError, match=r'run\.json: expected the run .*"seed": 7.*"seed": 0'):
        evaluator(run, settings=other)
    with pytest.raises(InputError, match=r"expected the run dansm, .* found vanilla, "):
        evaluator(run, name="dansm")


def test_defaults_of_a_later_day_do_not_change_what_was_measured(run):
    described = evaluator(run).description()["sampling"]
    assert "keep_png" not in described
    assert described["samplers"] == {"euler": "euler", "rk45": "rk45"}
