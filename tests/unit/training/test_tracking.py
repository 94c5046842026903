"""Trackers: told what stats.jsonl holds, on resuming too; none that fails ends the training."""

import json

import numpy as np
import pytest
import torch
from accelerate import tracking
from accelerate.utils import LoggerType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dansm.config import Config
from dansm.errors import InputError, InterruptedTraining
from dansm.training.trainer import Trainer, train

from ..factories import make_settings

SETTINGS = make_settings(shape=(1, 8, 8), seed=3, budget_images=320, snapshots=1)
NAMES = Config.model_json_schema()["properties"]["trackers"]["items"]["enum"]


@pytest.fixture
def store(make_store):
    images = np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8), dtype=np.uint8)
    return make_store(images, value_range=(0, 16))


@pytest.fixture
def installed(monkeypatch):
    """A function that replaces what a tracker does, its package apart, and returns its runs."""

    def replace(name, failing=None):
        kind, runs = tracking.LOGGER_TYPE_TO_CLASS[name], []

        class InMemory(kind):
            def __init__(self, *arguments, **options):
                super().__init__(*arguments, **options)
                self.options, self.calls = {"": arguments} | options, []
                runs.append(self)

            def called(self, method, *values):
                self.calls.append((method, *values))
                if method == failing:
                    raise ConnectionError("no route\nto host")

            def start(self):
                self.called("start")

            def store_init_configuration(self, values):
                self.called("settings", values)

            def log(self, values, step=None):
                self.called("log", values, step)

            def finish(self):
                self.called("finish")

        monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, InMemory)
        kinds = {*tracking.get_available_trackers(), LoggerType(name)}
        monkeypatch.setattr(tracking, "_available_trackers", [*kinds])
        return runs

    return replace


def statistics(folder):
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def scalars(folder):
    events = EventAccumulator(str(folder / "training" / "tensorboard"))
    events.Reload()
    return {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}


def stop_at(step, trainer, error):
    """Train until a step is done, which is not seen by any state."""
    advance = trainer.advance

    def advance_or_stop(pair):
        if trainer.step == step:
            raise error
        advance(pair)

    trainer.advance = advance_or_stop
    with pytest.raises(type(error)):
        trainer.run()


def test_tensorboard_shows_what_was_trained_twice_once(store, tmp_path):
    folder = tmp_path / "toy" / "vanilla" / "seed3"
    # The first leaves a state after each tick, the second none.
    stop_at(15, Trainer(SETTINGS, store, folder, state_seconds=0.0), KeyboardInterrupt())
    state = torch.load(folder / "training" / "state.pt", weights_only=True)
    seen = state["step"] * SETTINGS.batch_size
    stop_at(30, Trainer(SETTINGS, store, folder, state_seconds=1e6), KeyboardInterrupt())
    lost = scalars(folder)["loss"][-1].step
    train(SETTINGS, store, folder)
    lines = statistics(folder)
    assert seen < lost < lines[-1]["images_seen"] == 320
    found = scalars(folder)
    assert found.keys() == lines[0].keys() - {"images_seen"}
    for tag, events in found.items():
        assert [event.step for event in events] == [line["images_seen"] for line in lines]
        values = [line[tag] for line in lines]
        np.testing.assert_allclose([event.value for event in events], values, rtol=1e-6)


def test_a_run_that_is_continued_is_one_run_of_the_tracker(installed, store, tmp_path, capsys):
    runs = installed("wandb")
    folder = tmp_path / "toy" / "vanilla" / "seed3"
    # Another setting is no other run: the first part knows no tracker.
    stop_at(15, Trainer(SETTINGS, store, folder, state_seconds=0.0, trackers=()), ValueError())
    assert not runs and not (folder / "training" / "tensorboard").exists()
    for end in (25, 30):
        trainer = Trainer(SETTINGS, store, folder, state_seconds=0.0, trackers=["wandb"])
        stop_at(end, trainer, ValueError())
    train(SETTINGS, store, folder, trackers=["wandb"])
    assert capsys.readouterr().out.count("continuing after") == 3
    options = [run.options for run in runs]
    assert options[0] == options[1] == options[2]
    expected = {"": ("dansm",), "name": "toy/vanilla/seed3", "resume": "allow"}
    assert options[0] == expected | {"id": options[0]["id"], "dir": str(folder / "training")}
    settings = {"run": "toy/vanilla/seed3"} | SETTINGS.plain()
    for run in runs:
        assert run.calls[:2] == [("start",), ("settings", settings)]
    assert runs[-1].calls[-1] == ("finish",)
    calls = [call[1:] for run in runs for call in run.calls if call[0] == "log"]
    logged = {step: values for values, step in calls}
    lines = {line.pop("images_seen"): line for line in statistics(folder)}
    assert {step: lines[step] for step in logged} == logged
    assert max(logged) == 320
    train(SETTINGS, store, tmp_path / "other", trackers=["wandb"])
    assert runs[-1].options["id"] != options[0]["id"]
    # Finished, whatever the setting.
    train(SETTINGS, store, folder, trackers=["tensorboard"])
    assert "finished before" in capsys.readouterr().out


def test_an_interruption_ends_the_trackers_run(installed, store, tmp_path):
    runs = installed("mlflow")
    trainer = Trainer(SETTINGS, store, tmp_path, trackers=["mlflow"])
    trainer.stop_requested = lambda here: True
    with pytest.raises(InterruptedTraining):
        trainer.run()
    assert runs[0].calls[-1] == ("finish",)


@pytest.mark.parametrize("method", ["start", "settings", "log", "finish"])
def test_a_tracker_that_fails_does_not_end_the_training(method, installed, store, tmp_path, capsys):
    runs = installed("comet_ml", failing=method)
    train(SETTINGS, store, tmp_path, trackers=["comet_ml", "tensorboard"])
    output = capsys.readouterr().out
    line = "trackers: comet_ml failed (ConnectionError: no route to host); training goes on without"
    assert [text for text in output.splitlines() if "trackers" in text] == [line]
    assert [call[0] for call in runs[0].calls].count(method) == 1
    assert (tmp_path / "run.json").exists()
    assert len(scalars(tmp_path)["loss"]) == len(statistics(tmp_path))


def test_where_tensorboard_cannot_write_training_goes_on(store, tmp_path, capsys):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "tensorboard").write_text("no folder")
    train(SETTINGS, store, tmp_path)
    assert "trackers: tensorboard failed (FileExistsError" in capsys.readouterr().out
    assert (tmp_path / "run.json").exists()


def test_a_tracker_that_is_not_installed_is_refused(store, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.TENSORBOARD])
    message = (
        r"^trackers: expected .* installed, \['tensorboard'\], found 'comet_ml'; "
        r"pip install comet-ml .*$"
    )
    with pytest.raises(InputError, match=message):
        train(SETTINGS, store, tmp_path / "run", trackers=["tensorboard", "comet_ml"])
    assert not (tmp_path / "run").exists()


def test_the_configuration_knows_the_trackers_of_accelerate():
    assert {*NAMES} == {str(kind) for kind in LoggerType} - {"all"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tensorboard"])
def test_every_tracker_takes_what_it_is_given(name, installed, store, tmp_path):
    runs = installed(name)
    folder = tmp_path / "toy" / "vanilla" / "seed3"
    train(SETTINGS, store, folder, trackers=[name])
    (run,) = runs
    steps = [call[2] for call in run.calls if call[0] == "log"]
    assert steps == [line["images_seen"] for line in statistics(folder)]
    assert run.calls[-1] == ("finish",)
