"""Training: resumes to the same weights, stops at what is not finite, says what it saw."""

import errno
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer
from safetensors.torch import load_file
from torch import nn

from dansm.catalogue import Options, Pick
from dansm.config import Network, RunSettings
from dansm.couplings import fit_potentials
from dansm.data.pair_store import PairStore
from dansm.data.store import open_store, write_store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.files import read_json, sha256
from dansm.models.weights import save_weights
from dansm.processes import objective as objectives
from dansm.processes.objective import Objective
from dansm.processes.objective_registry import LossEntry
from dansm.training.trainer import Trainer, train

from ..factories import make_settings

NETWORK = Network(channels=[8, 8], layers_per_block=1, attention_at=[4], dropout=0.1, norm_groups=4)
SETTINGS = make_settings(
    shape=(1, 8, 8),
    horizontal_flips=True,
    coupling={"greedy": {"match_size": 37}},
    seed=3,
    network=NETWORK,
    budget_images=960,
    snapshots=3,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A fork waits for ever for the threads that OpenMP had in its parent, if it uses any."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "toy"
    images = np.random.default_rng(0).integers(0, 17, (50, 1, 8, 8), dtype=np.uint8)
    write_store(
        path,
        [images],
        count=50,
        shape=(1, 8, 8),
        dtype="uint8",
        value_range=(0, 16),
        source="random",
        licence="none",
    )
    return open_store(path)


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    train(SETTINGS, store, folder)
    return folder


def test_a_finished_run_is_complete(finished, store):
    run = read_json(finished / "run.json")
    assert [s["images_seen"] for s in run["snapshots"]] == [320, 640, 960]
    for snapshot in run["snapshots"]:
        assert sha256(finished / "snapshots" / snapshot["file"]) == snapshot["sha256"]
    assert sha256(finished / "model.safetensors") == run["model_sha256"]
    assert RunSettings.model_validate(run["settings"]) == SETTINGS
    assert run["dataset_sha256"] == store.meta["sha256"]
    assert not (finished / "training" / "state.pt").exists()
    lines = [json.loads(line) for line in (finished / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["images_seen"] == 960
    matched = np.mean([line["path_length_matched"] for line in lines])
    assert matched < np.mean([line["path_length_random"] for line in lines])
    assert all(line["images_per_second"] > 0 for line in lines)
    assert list((finished / "training" / "tensorboard").iterdir())


def test_killed_at_random_moments_it_ends_with_the_same_weights(finished, store, tmp_path):
    fork = multiprocessing.get_context("fork")
    started = time.monotonic()
    reference = Trainer(SETTINGS, store, tmp_path / "timing")
    reference.run()
    duration = time.monotonic() - started
    moments = random.Random(0)
    folder = tmp_path / "killed"
    continued = 0

    def begin():
        Trainer(SETTINGS, store, folder, state_seconds=0.01).run()

    for _ in range(5):
        child = fork.Process(target=begin)
        child.start()
        time.sleep(moments.uniform(0.1, 0.5) * duration)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        continued += (folder / "training" / "state.pt").exists()
    assert continued > 0, "no kill fell between the first saved state and the end"
    train(SETTINGS, store, folder)
    for name in ("model.safetensors", *(f"snapshots/{n:010d}.safetensors" for n in (320, 640))):
        assert sha256(folder / name) == sha256(finished / name)
    assert not list(folder.rglob("*.partial*"))
    assert science(folder) == science(finished)


def test_two_jobs_do_not_train_one_run_at_once(finished, store, tmp_path):
    fork = multiprocessing.get_context("fork")
    folder = tmp_path / "run"
    training = fork.Event()

    def train_and_wait():
        first = Trainer(SETTINGS, store, folder)
        advance = first.advance

        def wait_after_a_step(pair):
            advance(pair)
            training.set()
            signal.pause()

        first.advance = wait_after_a_step
        first.run()

    child = fork.Process(target=train_and_wait)
    child.start()
    try:
        assert training.wait(60)
        found = rf"process {child.pid} on {re.escape(os.uname().nodename)}"
        with pytest.raises(
            InputError, match=rf"{folder}/training/state.pt: expected no other job .* {found};"
        ):
            train(SETTINGS, store, folder)
        train(SETTINGS, store, tmp_path / "elsewhere")
    finally:
        child.kill()
        child.join()
    train(SETTINGS, store, folder)
    assert sha256(folder / "model.safetensors") == sha256(finished / "model.safetensors")


def test_where_files_cannot_be_locked_training_goes_on(store, tmp_path, monkeypatch, capsys):
    def no_locks(file, operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("dansm.io.files.fcntl.flock", no_locks)
    train(SETTINGS, store, tmp_path)
    expected = "lock: no protection against a second job (Function not implemented)"
    assert expected in capsys.readouterr().out
    assert (tmp_path / "run.json").exists()


def science(run):
    """Return the statistics that do not depend on the machine."""
    kept = ("images_seen", "loss", "gradient_norm", "path_length_random", "path_length_matched")
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in kept} for line in lines]


def test_sigterm_saves_the_state_of_that_step(finished, store, tmp_path):
    # Ticks come every step of 120; a longer run has them further apart, and ends between two.
    settings = SETTINGS.model_copy(update={"budget_images": 8 * 300, "snapshots": 1})
    train(settings, store, tmp_path / "whole")
    handler = signal.getsignal(signal.SIGTERM)
    for step in (100, 200):
        stopped = Trainer(settings, store, tmp_path / "stopped", state_seconds=1e6)
        advance = stopped.advance

        def told(pair, stopped=stopped, advance=advance, step=step):
            advance(pair)
            if stopped.step == step:
                os.kill(os.getpid(), signal.SIGTERM)

        stopped.advance = told
        with pytest.raises(
            InterruptedTraining, match=rf"stopped by request after {8 * step} images"
        ):
            stopped.run()
        state = torch.load(tmp_path / "stopped" / "training" / "state.pt", weights_only=True)
        assert state["step"] == step
        assert len(state["recent"]["losses"]) == step % 3 > 0
    assert signal.getsignal(signal.SIGTERM) is handler
    train(settings, store, tmp_path / "stopped")
    assert science(tmp_path / "stopped") == science(tmp_path / "whole")
    models = [sha256(tmp_path / run / "model.safetensors") for run in ("whole", "stopped")]
    assert models[0] == models[1]


def test_sigterm_does_not_save_a_state_that_is_not_finite(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path, state_seconds=1e6)
    advance = trainer.advance

    def spoilt(pair):
        advance(pair)
        if trainer.step == 5:
            trainer.recent.losses[-1] = torch.tensor(float("inf"))
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.advance = spoilt
    with pytest.raises(TrainingError, match="at step 5"):
        trainer.run()
    assert not (tmp_path / "training" / "state.pt").exists()


@pytest.mark.parametrize(
    "coupling",
    [
        Pick("hungarian", {"match_size": 20}),
        Pick("immiscible"),
        Pick("knn", {"match_size": 3}),
        Pick("loom"),
        Pick("semidiscrete"),
    ],
    ids=str,
)
def test_every_coupling_continues_to_the_same_weights(coupling, store, tmp_path):
    settings = SETTINGS.model_copy(update={"coupling": coupling, "budget_images": 96})
    potentials = tmp_path / "potentials.npz"
    samples = store.batch(np.arange(len(store)))
    fit_potentials(samples, seed=0, steps=20, batch_size=16, progress=False).save(potentials)
    train(settings, store, tmp_path / "whole", potentials)
    broken = Trainer(settings, store, tmp_path / "broken", potentials, state_seconds=0.0)
    advance = broken.advance

    def interrupted(pair):
        if broken.step == 7:
            raise KeyboardInterrupt
        advance(pair)

    broken.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    train(settings, store, tmp_path / "broken", potentials)
    models = [sha256(tmp_path / run / "model.safetensors") for run in ("whole", "broken")]
    assert models[0] == models[1]


def stop_after(trainer, step):
    """Train until a step, and stop there with the state saved."""
    advance = trainer.advance

    def advance_and_stop(pair):
        advance(pair)
        if trainer.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.advance = advance_and_stop
    with pytest.raises(InterruptedTraining):
        trainer.run()


def test_a_compiled_network_with_channels_last_trains_alike_and_continues(
    store, tmp_path, monkeypatch
):
    # By a backend that writes no code; the one that does takes minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain = SETTINGS.model_copy(
        update={
            "network": NETWORK.model_copy(update={"dropout": 0.0}),
            "budget_images": 96,
        }
    )
    tuned = plain.model_copy(update={"channels_last": True, "compile": True})
    train(plain, store, tmp_path / "plain")
    train(tuned, store, tmp_path / "tuned")
    interrupted = Trainer(tuned, store, tmp_path / "interrupted", state_seconds=0.0)
    stop_after(interrupted, 7)
    assert interrupted.bare_network._compiled_call_impl is not None
    weight = interrupted.bare_network.conv_in.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    train(tuned, store, tmp_path / "interrupted")
    files = {run: tmp_path / run / "model.safetensors" for run in ("plain", "tuned", "interrupted")}
    assert sha256(files["interrupted"]) == sha256(files["tuned"])
    assert load_file(files["tuned"]).keys() == load_file(files["plain"]).keys()
    losses = [[line["loss"] for line in science(tmp_path / run)] for run in ("plain", "tuned")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_semidiscrete_needs_the_potentials_of_its_dataset(store, tmp_path):
    settings = SETTINGS.model_copy(update={"coupling": Pick("semidiscrete")})
    with pytest.raises(InputError, match="semidiscrete: expected potentials, found none"):
        Trainer(settings, store, tmp_path)
    other = fit_potentials(torch.rand(50, 1, 8, 8), seed=0, steps=2, batch_size=4, progress=False)
    other.save(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"other\.npz"):
        Trainer(settings, store, tmp_path, tmp_path / "other.npz")


def test_other_potentials_make_another_run(store, tmp_path):
    settings = SETTINGS.model_copy(update={"coupling": Pick("semidiscrete")})
    samples, runs = store.batch(np.arange(len(store))), set()
    for steps in (2, 3):
        path = tmp_path / f"{steps}.npz"
        fit_potentials(samples, seed=0, steps=steps, batch_size=4, progress=False).save(path)
        runs.add(Trainer(settings, store, tmp_path, path).identity)
    assert len(runs) == 2


def test_a_state_of_other_settings_is_not_continued(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path)
    trainer.step = 12
    trainer.save_state([])
    other = Trainer(SETTINGS.model_copy(update={"seed": 4}), store, tmp_path)
    other.resume()
    assert other.step == 0
    state, aside = (tmp_path / "training" / name for name in ("state.pt", "state.other.pt"))
    assert not state.exists()
    aside.rename(state)
    same = Trainer(SETTINGS, store, tmp_path)
    same.resume()
    assert same.step == 12


def test_a_damaged_state_is_named(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path)
    trainer.save_state([])
    state = tmp_path / "training" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"state\.pt: expected a training state, found .*; delete"):
        Trainer(SETTINGS, store, tmp_path).resume()


@pytest.mark.parametrize("damage", ["flip", "remove", "exchange"])
def test_a_damaged_snapshot_stops_a_continued_training(store, tmp_path, damage):
    trainer = Trainer(SETTINGS, store, tmp_path)
    trainer.take_snapshot()
    trainer.save_state([])
    (path,) = (tmp_path / "training" / "snapshots").iterdir()
    if damage == "flip":
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
    elif damage == "remove":
        path.unlink()
    else:
        save_weights(path, {"weight": torch.zeros(2)}, {})
    expected = rf"^{path}: expected sha256 [0-9a-f]{{64}} as it was saved, found .*; delete "
    with pytest.raises(InputError, match=expected):
        Trainer(SETTINGS, store, tmp_path).resume()
    with pytest.raises(InputError, match=expected):
        trainer.publish()
    assert not (tmp_path / "run.json").exists()


def test_what_a_kill_left_half_published_goes(finished, store, tmp_path):
    left = [tmp_path / ".model.safetensors.elsewhere-7.partial.safetensors"]
    left += [tmp_path / "snapshots" / ".0000000320.safetensors.elsewhere-7.partial.safetensors"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    train(SETTINGS, store, tmp_path)
    assert not any(path.exists() for path in left)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path, state_seconds=0.0)
    good = trainer.objective.error

    def spoilt(prediction, target):
        errors = good(prediction, target)
        return errors * float("nan") if trainer.step == 10 else errors

    trainer.objective.error = spoilt
    with pytest.raises(TrainingError, match=r"at step 11 \(88 images\) the loss is nan.*state\.pt"):
        trainer.run()
    state = torch.load(tmp_path / "training" / "state.pt", weights_only=True)
    assert 1 <= state["step"] <= 10
    assert all(value.isfinite().all() for value in state["network"].values())
    assert not (tmp_path / "model.safetensors").exists()


def test_a_store_of_another_shape_is_refused(store, tmp_path):
    settings = SETTINGS.model_copy(update={"shape": (3, 8, 8)})
    with pytest.raises(InputError, match=r"expected samples of shape \(3, 8, 8\).*\(1, 8, 8\)"):
        Trainer(settings, store, tmp_path)


def test_latents_without_those_of_mirrored_images_are_refused(latents, tmp_path):
    del latents.parts["mirrored"]
    with pytest.raises(InputError, match="expected latents of the mirrored images too"):
        Trainer(SETTINGS, latents, tmp_path)


def other_run(store, folder, **changes):
    """Train another run for a few steps; return its settings and weights."""
    settings = SETTINGS.model_copy(update={"budget_images": 40, "snapshots": 1, **changes})
    train(settings, store, folder)
    return settings, folder / "model.safetensors"


def test_a_run_starts_from_the_averaged_weights_of_another(store, tmp_path):
    _, weights = other_run(store, tmp_path / "other")
    settings = SETTINGS.model_copy(update={"start": "other", "budget_images": 96})
    trainer = Trainer(settings, store, tmp_path / "run", start=weights)
    expected = load_file(weights)
    parameters = dict(trainer.bare_network.named_parameters())
    assert all(torch.equal(parameters[name], value) for name, value in expected.items())
    means = dict(zip(parameters, trainer.ema.shadow_params, strict=True))
    assert all(torch.equal(means[name], value) for name, value in expected.items())
    assert trainer.ema.optimization_step == 0 and not trainer.optimizer.state
    trainer.run()
    run = read_json(tmp_path / "run" / "run.json")
    assert run["start_sha256"] == sha256(weights) and run["settings"]["start"] == "other"
    stop_after(Trainer(settings, store, tmp_path / "stopped", start=weights), 7)
    train(settings, store, tmp_path / "stopped", start=weights)
    models = [sha256(tmp_path / name / "model.safetensors") for name in ("run", "stopped")]
    assert models[0] == models[1]


def test_a_run_counts_what_it_and_the_stages_before_it_took(store, tmp_path):
    other, weights = other_run(store, tmp_path / "other" / "seed0")
    settings = SETTINGS.model_copy(update={"start": "other", "budget_images": 40, "snapshots": 1})
    train(settings, store, tmp_path / "run" / "seed0", start=weights)
    found = read_json(tmp_path / "run" / "seed0" / "run.json")["spent"]
    images = other.steps * other.batch_size
    assert found == {"other": 3 * images, "run": 3 * settings.steps * settings.batch_size}


def test_a_guide_is_frozen_and_of_the_same_dataset_seed_and_process(store, tmp_path):
    _, weights = other_run(store, tmp_path / "other" / "seed0")
    loss = Pick("flow_guided", {"teacher": "other"})
    update = {"loss": loss, "budget_images": 40, "snapshots": 1}
    settings = SETTINGS.model_copy(update=update)
    before = sha256(weights)
    train(settings, store, tmp_path / "run" / "seed0", guide=weights)
    run = read_json(tmp_path / "run" / "seed0" / "run.json")
    assert run["guide_sha256"] == sha256(weights) == before
    assert run["spent"].keys() == {"other", "run"}
    assert run["spent"]["run"] == 5 * settings.steps * settings.batch_size
    with pytest.raises(InputError, match="expected a guide of seed 9"):
        Trainer(settings.model_copy(update={"seed": 9}), store, tmp_path / "x", guide=weights)
    with pytest.raises(InputError, match=r"flow_guided.*: expected guide, found none"):
        Trainer(settings, store, tmp_path / "x")


def test_mean_flow_trains_and_resumes(store, tmp_path):
    network = NETWORK.model_copy(update={"two_times": True})
    update = {"process": Pick("mean_flow"), "loss": Pick("mean_velocity"), "network": network}
    settings = SETTINGS.model_copy(update=update | {"budget_images": 64, "snapshots": 1})
    train(settings, store, tmp_path / "whole")
    stop_after(Trainer(settings, store, tmp_path / "stopped"), 3)
    train(settings, store, tmp_path / "stopped")
    models = [sha256(tmp_path / name / "model.safetensors") for name in ("whole", "stopped")]
    assert models[0] == models[1]


def test_a_state_begun_from_other_weights_is_not_continued(store, tmp_path):
    _, weights = other_run(store, tmp_path / "other")
    settings = SETTINGS.model_copy(update={"start": "other"})
    trainer = Trainer(settings, store, tmp_path / "run", start=weights)
    trainer.step = 5
    trainer.save_state([])
    other_run(store, tmp_path / "other", seed=8)
    again = Trainer(settings, store, tmp_path / "run", start=weights)
    again.resume()
    assert again.step == 0


def test_a_start_of_another_network_or_missing_is_refused(store, tmp_path):
    settings = SETTINGS.model_copy(update={"start": "other"})
    wider = NETWORK.model_copy(update={"channels": [12, 8]})
    _, weights = other_run(store, tmp_path / "other", network=wider)
    with pytest.raises(InputError, match=r"model\.safetensors: weights of another run or network"):
        Trainer(settings, store, tmp_path / "run", start=weights)
    with pytest.raises(InputError, match=r"none\.safetensors: expected network weights"):
        Trainer(settings, store, tmp_path / "run", start=tmp_path / "none.safetensors")
    with pytest.raises(InputError, match="start: expected weights of other, found None"):
        Trainer(settings, store, tmp_path / "run")


class FakePairs(PairStore):
    """Pairs of a teacher who is not asked for."""

    def check(self, student):
        assert student.coupling.name == "teacher_pairs"


POINTS = torch.randn(30, 2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
PAIRS = FakePairs(Path("pairs"), POINTS, {"count": 30, "spent": {"vanilla": 9.0}}, "0" * 64)


@pytest.fixture
def pairs(monkeypatch, tmp_path):
    monkeypatch.setattr("dansm.training.trainer.open_pairs", lambda folder: PAIRS)
    return tmp_path / "pairs"


STUDENT = SETTINGS.model_copy(
    update={
        "horizontal_flips": False,
        "coupling": Pick("teacher_pairs", {"teacher": "vanilla", "sampler": "rk45", "count": 30}),
        "budget_images": 96,
    }
)


def test_a_student_trains_on_its_teachers_pairs_alone_and_continues(store, pairs, tmp_path):
    trainer = Trainer(STUDENT, store, tmp_path / "run", pairs=pairs)
    made = trainer.coupling.pairs(trainer.batches)
    seen = [next(made) for _ in range(15)]  # four epochs
    rows = torch.cat([batch.extras["row"] for batch in seen]).reshape(4, 30)
    assert all(sorted(epoch) == list(range(30)) for epoch in rows.tolist())
    for batch in seen:
        assert torch.equal(batch.samples, PAIRS.samples[batch.extras["row"]])
        assert torch.equal(batch.noise, PAIRS.noise[batch.extras["row"]])
    train(STUDENT, store, tmp_path / "whole", pairs=pairs)
    assert read_json(tmp_path / "whole" / "run.json")["pairs_sha256"] == PAIRS.sha256
    stop_after(Trainer(STUDENT, store, tmp_path / "stopped", pairs=pairs), 7)
    train(STUDENT, store, tmp_path / "stopped", pairs=pairs)
    models = [sha256(tmp_path / name / "model.safetensors") for name in ("whole", "stopped")]
    assert models[0] == models[1]


def test_a_student_without_pairs_or_with_flips_is_refused(store, pairs, tmp_path):
    with pytest.raises(InputError, match=r"teacher_pairs.*: expected teacher's pairs, found none"):
        Trainer(STUDENT, store, tmp_path)
    flipped = STUDENT.model_copy(update={"horizontal_flips": True})
    with pytest.raises(InputError, match=r"teacher_pairs.*: expected no horizontal_flips"):
        Trainer(flipped, store, tmp_path, pairs=pairs)


class Adversarial(Objective):
    """A toy with a critic that learns to tell predictions from targets, by an optimiser."""

    def __init__(self, process, times, share):
        super().__init__(process, times, lambda prediction, target: (prediction - target) ** 2)
        self.share = share
        self.modules["critic"] = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 1))
        parameters = self.modules["critic"].parameters()
        self.optimizers["critic"] = torch.optim.Adam(parameters, lr=1e-2)

    def loss(self, network, samples, noise, stream):
        times = self.process.draw_times(self.times, samples, stream)
        point = self.process.point(samples, noise, times)
        prediction = network(point.input, point.condition)
        self.pair = prediction.detach(), point.target
        error = self.error(prediction, point.target).mean()
        return error - self.share * self.modules["critic"](prediction).mean()

    def step(self, backward):
        self.optimizers["critic"].zero_grad()
        made, real = (self.modules["critic"](part) for part in self.pair)
        backward((1 + made).relu().mean() + (1 - real).relu().mean())
        self.optimizers["critic"].step()


@dataclass(frozen=True)
class Share(Options):
    share: float = 0.1


def test_an_objective_with_a_network_of_its_own_is_killed_and_ends_with_the_same_weights(
    store, tmp_path, monkeypatch
):
    entry = LossEntry("adversarial", f"{__name__}:Adversarial", "Adversarial", "", Share)
    monkeypatch.setattr(objectives, "LOSSES", {"adversarial": entry})
    settings = SETTINGS.model_copy(update={"loss": Pick("adversarial", {"share": 0.5})})
    whole = Trainer(settings, store, tmp_path / "whole")
    critic = whole.objective.modules["critic"]
    before = [parameter.detach().clone() for parameter in critic.parameters()]
    assert isinstance(whole.objective.optimizers["critic"], AcceleratedOptimizer)
    whole.run()
    assert not any(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))

    fork = multiprocessing.get_context("fork")
    saved = fork.Event()

    def train_until_killed():
        trainer = Trainer(settings, store, tmp_path / "killed", state_seconds=0.0)
        save = trainer.state.save

        def save_and_wait(content):
            save(content)
            if trainer.step > 50:
                saved.set()
                signal.pause()

        trainer.state.save = save_and_wait
        trainer.run()

    child = fork.Process(target=train_until_killed)
    child.start()
    assert saved.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    continued = Trainer(settings, store, tmp_path / "killed")
    continued.run()
    assert len(continued.stats) == len(whole.stats)
    assert sha256(tmp_path / "killed/model.safetensors") == sha256(
        tmp_path / "whole/model.safetensors"
    )
    again = continued.objective.modules["critic"].state_dict()
    assert all(torch.equal(again[name], value) for name, value in critic.state_dict().items())


@pytest.mark.parametrize("gpu", [None, "Tesla V100"])
def test_bf16_that_is_not_available_is_refused(gpu, store, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    settings = SETTINGS.model_copy(update={"mixed_precision": "bf16"})
    with pytest.raises(InputError, match=f"bf16: expected a GPU .*, found {gpu or 'the CPU'}; set"):
        Trainer(settings, store, tmp_path)


def test_ema_follows_its_formula(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path)
    expected = [p.detach().clone().double() for p in trainer.bare_network.parameters()]
    pairs = trainer.coupling.pairs(trainer.batches)
    for step in range(1, 6):
        trainer.advance(next(pairs))
        # The average starts with the second step, at the decay (1 + n) / (10 + n).
        n = step - 1
        decay = min(0.9, (1 + n) / (10 + n)) if n > 0 else 0.0
        for mean, value in zip(expected, trainer.bare_network.parameters(), strict=True):
            mean.mul_(decay).add_((1 - decay) * value.detach().double())
    for ours, mean in zip(trainer.ema.shadow_params, expected, strict=True):
        torch.testing.assert_close(ours.double(), mean, rtol=1e-5, atol=1e-7)


def test_what_a_run_was_finished_with_is_given_back_and_kept_until_it_is_replaced(
    finished, store, tmp_path, monkeypatch, capsys
):
    """Snakemake deletes what a job made before the job begins."""
    folder, results = tmp_path / "run", ("model.safetensors", "run.json", "stats.jsonl")
    shutil.copytree(finished, folder)

    def delete():
        shutil.rmtree(folder / "snapshots")
        for name in results:
            (folder / name).unlink()

    def stop(*arguments):
        raise InterruptedTraining("killed")

    monkeypatch.setattr(Trainer, "advance", stop)
    delete()
    train(SETTINGS, store, folder)
    assert "finished before" in capsys.readouterr().out
    delete()
    with pytest.raises(InterruptedTraining):
        train(SETTINGS.model_copy(update={"learning_rate": 1.0}), store, folder)
    assert not (folder / "model.safetensors").exists()
    train(SETTINGS, store, folder)
    for name in results:
        assert sha256(folder / name) == sha256(finished / name)
    assert science(folder) == science(finished)
    # Of a run that was finished before there were such notes, the weights are kept.
    old = tmp_path / "old"
    shutil.copytree(finished, old)
    (old / "training" / "run.json").unlink()
    with pytest.raises(InterruptedTraining):
        train(SETTINGS.model_copy(update={"learning_rate": 1.0}), store, old)
    assert len(list((old / "training" / "earlier" / "snapshots").iterdir())) == 3
    # What is damaged is not given back.
    weights = next((folder / "training" / "earlier" / "snapshots").iterdir())
    weights.write_bytes(weights.read_bytes()[:-1])
    delete()
    with pytest.raises(InterruptedTraining):
        train(SETTINGS, store, folder)
