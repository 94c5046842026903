"""Training: resumes to the same weights, stops at what is not finite, says what it saw."""

import errno
import json
import multiprocessing
import os
import random
import re
import signal
import time
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dansm.config import Network, RunSettings
from dansm.couplings import fit_potentials
from dansm.data.store import finish_store, open_store, write_store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.io.files import read_json, sha256
from dansm.training.trainer import ShuffledBatches, Trainer, Window, train

NETWORK = Network(channels=[8, 8], layers_per_block=1, attention_at=[4], dropout=0.1, norm_groups=4)
SETTINGS = RunSettings(
    dataset="toy",
    shape=(1, 8, 8),
    horizontal_flips=True,
    process="rectified_flow",
    coupling="greedy",
    match_size=37,
    seed=3,
    network=NETWORK,
    batch_size=8,
    learning_rate=1e-3,
    ema_decay=0.9,
    gradient_clip=1.0,
    mixed_precision="no",
    budget_images=960,
    snapshots=3,
)


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
    for _ in range(5):
        child = fork.Process(target=Trainer(SETTINGS, store, folder, state_seconds=0.01).run)
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

        def wait_after_a_step(pair, window):
            advance(pair, window)
            training.set()
            signal.pause()

        first.advance = wait_after_a_step
        first.run()

    child = fork.Process(target=train_and_wait)
    child.start()
    try:
        assert training.wait(60)
        found = rf"process {child.pid} on {re.escape(os.uname().nodename)}"
        with pytest.raises(InputError, match=rf"{folder}: expected no other job .* found {found};"):
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

    monkeypatch.setattr("dansm.training.trainer.fcntl.flock", no_locks)
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

        def told(pair, window, stopped=stopped, advance=advance, step=step):
            advance(pair, window)
            if stopped.step == step:
                os.kill(os.getpid(), signal.SIGTERM)

        stopped.advance = told
        with pytest.raises(InterruptedTraining, match=rf"told to end after {8 * step} images"):
            stopped.run()
        state = torch.load(tmp_path / "stopped" / "training" / "state.pt", weights_only=True)
        assert state["step"] == step
        assert len(state["window"]["losses"]) == step % 3 > 0
    assert signal.getsignal(signal.SIGTERM) is handler
    train(settings, store, tmp_path / "stopped")
    assert science(tmp_path / "stopped") == science(tmp_path / "whole")
    models = [sha256(tmp_path / run / "model.safetensors") for run in ("whole", "stopped")]
    assert models[0] == models[1]


def test_sigterm_does_not_save_a_state_that_is_not_finite(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path, state_seconds=1e6)
    advance = trainer.advance

    def spoilt(pair, window):
        advance(pair, window)
        if trainer.step == 5:
            window.losses[-1] = torch.tensor(float("inf"))
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.advance = spoilt
    with pytest.raises(TrainingError, match="at step 5"):
        trainer.run()
    assert not (tmp_path / "training" / "state.pt").exists()


@pytest.mark.parametrize(
    ("coupling", "match_size"),
    [("hungarian", 20), ("immiscible", 0), ("knn", 3), ("loom", 0), ("semidiscrete", 0)],
)
def test_every_coupling_continues_to_the_same_weights(coupling, match_size, store, tmp_path):
    settings = SETTINGS.model_copy(
        update={"coupling": coupling, "match_size": match_size, "budget_images": 96}
    )
    potentials = tmp_path / "potentials.npz"
    samples = store.batch(np.arange(len(store)))
    fit_potentials(samples, seed=0, steps=20, batch_size=16, progress=False).save(potentials)
    train(settings, store, tmp_path / "whole", potentials)
    broken = Trainer(settings, store, tmp_path / "broken", potentials, state_seconds=0.0)
    advance = broken.advance

    def interrupted(pair, window):
        if broken.step == 7:
            raise KeyboardInterrupt
        advance(pair, window)

    broken.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    train(settings, store, tmp_path / "broken", potentials)
    models = [sha256(tmp_path / run / "model.safetensors") for run in ("whole", "broken")]
    assert models[0] == models[1]


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
    advance = interrupted.advance

    def told(pair, window):
        advance(pair, window)
        if interrupted.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    interrupted.advance = told
    with pytest.raises(InterruptedTraining):
        interrupted.run()
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
    settings = SETTINGS.model_copy(update={"coupling": "semidiscrete", "match_size": 0})
    with pytest.raises(InputError, match="semidiscrete: expected a file of potentials"):
        Trainer(settings, store, tmp_path)
    other = fit_potentials(torch.rand(50, 1, 8, 8), seed=0, steps=2, batch_size=4, progress=False)
    other.save(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"other\.npz"):
        Trainer(settings, store, tmp_path, tmp_path / "other.npz")


def test_a_state_of_other_settings_is_not_continued(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path)
    trainer.step = 12
    trainer.save_state([], Window())
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
    trainer.save_state([], Window())
    state = tmp_path / "training" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"state\.pt: expected a training state, found 1000 bytes"):
        Trainer(SETTINGS, store, tmp_path).resume()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path, state_seconds=0.0)
    good = trainer.process

    class Spoilt:
        def loss(self, network, samples, noise, stream):
            loss = good.loss(network, samples, noise, stream)
            return loss * float("nan") if trainer.step == 10 else loss

    trainer.process = Spoilt()
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


def test_each_epoch_visits_every_sample_once_across_batches(store):
    batches = iter(ShuffledBatches(store, SETTINGS, rank=0, ranks=1))
    rows = torch.cat([next(batches).extras["row"] for _ in range(25)])
    epochs = rows.reshape(4, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_ranks_share_a_batch(store):
    whole = next(iter(ShuffledBatches(store, SETTINGS, 0, 1)))
    shares = [next(iter(ShuffledBatches(store, SETTINGS, rank, 2))) for rank in (0, 1)]
    assert torch.equal(torch.stack([s.samples for s in shares], 1).flatten(0, 1), whole.samples)
    with pytest.raises(InputError, match="batch_size 8: expected a multiple of 3 processes"):
        ShuffledBatches(store, SETTINGS, 0, 3)


def test_flips_mirror_about_half_of_the_images_for_good(store):
    plain = SETTINGS.model_copy(update={"horizontal_flips": False})
    flipped = 0
    pairs = zip(
        ShuffledBatches(store, SETTINGS, 0, 1), ShuffledBatches(store, plain, 0, 1), strict=False
    )
    for _, (ours, theirs) in zip(range(25), pairs, strict=False):
        for image, original in zip(ours.samples, theirs.samples, strict=True):
            mirrored = torch.equal(image, original.flip(2))
            assert mirrored or torch.equal(image, original)
            flipped += mirrored
    assert 70 < flipped < 130


@pytest.fixture
def latents(tmp_path):
    """Latents with a posterior, and those of mirrored images."""
    values = np.random.default_rng(1).random((4, 50, 1, 8, 8)).astype(np.float16)
    names = ("array", "deviation", "mirrored", "mirrored_deviation")
    files = {name: [tmp_path / "l" / f"{name}-00000.npy"] for name in names}
    (tmp_path / "l").mkdir()
    for array, (path,) in zip(values, files.values(), strict=True):
        np.save(path, array)
    meta = {"count": 50, "shape": (1, 8, 8), "dtype": "float16", "value_range": None}
    finish_store(tmp_path / "l", files, **meta, source="random", licence="none")
    return open_store(tmp_path / "l")


def test_latents_are_drawn_anew_in_every_epoch_and_alike_by_ranks(latents):
    plain = SETTINGS.model_copy(update={"horizontal_flips": False})
    batches = iter(ShuffledBatches(latents, plain, 0, 1))
    epochs = [[], []]
    for k in range(25):
        batch = next(batches)
        noise = batch.samples - latents.batch(batch.extras["row"].numpy())
        noise /= torch.from_numpy(latents.parts["deviation"][batch.extras["row"].numpy()]).float()
        epochs[k // 13].append(noise)
    noise = torch.cat(epochs[0])
    assert abs(float(noise.mean())) < 0.05 and float(noise.std()) == pytest.approx(1, abs=0.05)
    assert not torch.equal(epochs[0][0], epochs[1][0])
    again = ShuffledBatches(latents, plain, 0, 1)
    again.position = 24  # as after a resumption
    assert torch.equal(next(iter(again)).samples, batch.samples)
    for settings in (plain, SETTINGS):
        whole = next(iter(ShuffledBatches(latents, settings, 0, 1))).samples
        shares = [next(iter(ShuffledBatches(latents, settings, r, 2))).samples for r in (0, 1)]
        assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole)


def test_latents_without_those_of_mirrored_images_are_refused(latents, tmp_path):
    del latents.parts["mirrored"]
    with pytest.raises(InputError, match="expected latents of the mirrored images too"):
        Trainer(SETTINGS, latents, tmp_path)


def test_ema_follows_its_formula(store, tmp_path):
    trainer = Trainer(SETTINGS, store, tmp_path)
    expected = [p.detach().clone().double() for p in trainer.bare_network.parameters()]
    pairs = trainer.coupling.pairs(trainer.batches)
    for step in range(1, 6):
        trainer.advance(next(pairs), Window())
        # The average starts with the second step, at the decay (1 + n) / (10 + n).
        n = step - 1
        decay = min(0.9, (1 + n) / (10 + n)) if n > 0 else 0.0
        for mean, value in zip(expected, trainer.bare_network.parameters(), strict=True):
            mean.mul_(decay).add_((1 - decay) * value.detach().double())
    for ours, mean in zip(trainer.ema.shadow_params, expected, strict=True):
        torch.testing.assert_close(ours.double(), mean, rtol=1e-5, atol=1e-7)
