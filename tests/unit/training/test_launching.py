"""Training with several processes: started together, ended together, continued together."""

import threading
import time

import numpy as np
import psutil
import pytest

from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.files import read_json, sha256
from dansm.training.launching import launch_training

from ..factories import make_settings

SETTINGS = make_settings(
    shape=(1, 8, 8),
    coupling={"greedy": {"match_size": 37}},
    seed=3,
    budget_images=800,
    snapshots=3,
)


@pytest.fixture
def store(make_store):
    images = np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8), dtype=np.uint8)
    return make_store(images, value_range=(0, 16)).path


def launch(settings, store, folder, **options):
    launch_training(settings, store, folder, processes=2, threads=2, **options)


def test_two_processes_that_are_stopped_continue_to_the_same_weights(store, tmp_path, capfd):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"

    def stop_all():
        # Once both have trained a step; as Slurm does it, every process of the job at once.
        stats = stopped / "training" / "stats.jsonl"
        while not (stats.exists() and stats.read_text()):
            time.sleep(0.01)
        for process in (*psutil.Process().children(recursive=True), psutil.Process()):
            process.terminate()

    stopper = threading.Thread(target=stop_all, daemon=True)
    stopper.start()
    with pytest.raises(
        InterruptedTraining, match=rf"{stopped}: stopped by request; the state is saved"
    ):
        launch(SETTINGS, store, stopped)
    stopper.join()
    assert not (stopped / "run.json").exists()
    launch(SETTINGS, store, stopped)
    assert "continuing after" in capfd.readouterr().out
    # One of the two processes writes for both.
    assert len(list((stopped / "training" / "tensorboard").iterdir())) == 2
    launch(SETTINGS, store, whole, trackers=[])
    assert not (whole / "training" / "tensorboard").exists()
    assert read_json(whole / "run.json")["processes"] == 2
    snapshots = [snapshot["images_seen"] for snapshot in read_json(whole / "run.json")["snapshots"]]
    assert snapshots == [264, 536, 800]
    assert sha256(stopped / "model.safetensors") == sha256(whole / "model.safetensors")


def test_what_is_wrong_in_a_process_is_said_and_fails_the_job(store, tmp_path, capfd):
    settings = SETTINGS.model_copy(update={"batch_size": 7})
    with pytest.raises(TrainingError, match="one of 2 processes failed, see above"):
        launch(settings, store, tmp_path / "run")
    assert "error: batch_size 7: expected a multiple of 2 processes" in capfd.readouterr().out


def test_one_process_is_this_one(store, tmp_path):
    launch_training(SETTINGS, store, tmp_path / "run", processes=1, threads=1)
    assert read_json(tmp_path / "run" / "run.json")["processes"] == 1
    with pytest.raises(InputError, match=r"meta\.json"):
        launch_training(SETTINGS, tmp_path, tmp_path / "other", processes=1, threads=1)
