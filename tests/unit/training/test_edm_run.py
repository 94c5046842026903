"""A run of EDM from training to samples: resumed to the same weights, sampled by every solver."""

import numpy as np
import pytest
import torch

from dansm.catalogue import Pick
from dansm.data.store import open_store, write_store
from dansm.io.files import sha256
from dansm.models.trained import load_model
from dansm.processes.samplers import Sampler
from dansm.training.trainer import Trainer, train

from ..factories import make_settings


@pytest.fixture
def store(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 4, 4), dtype=np.uint8)
    write_store(
        tmp_path / "toy",
        [images],
        count=40,
        shape=(1, 4, 4),
        dtype="uint8",
        value_range=(0, 16),
        source="random",
        licence="none",
    )
    return open_store(tmp_path / "toy")


@pytest.mark.parametrize("process", ["edm", {"edm": {"sigma_data": 0.6, "augmented": 128}}])
def test_a_run_is_resumed_bit_for_bit_and_sampled(process, store, tmp_path):
    settings = make_settings(process=process, times="log_normal", coupling="immiscible")
    assert settings.plain()["process"] == process
    train(settings, store, tmp_path / "whole" / "seed0")
    first = Trainer(settings, store, tmp_path / "resumed" / "seed0")
    pairs = first.coupling.pairs(first.batches)
    for _ in range(3):
        first.advance(next(pairs))
    first.save_state([])
    train(settings, store, tmp_path / "resumed" / "seed0")
    files = [tmp_path / run / "seed0" / "model.safetensors" for run in ("whole", "resumed")]
    assert sha256(files[0]) == sha256(files[1])
    network = load_model(files[0].parent, settings)
    noise = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for solver, nfe in (("heun", 7), ("euler", 4), ("adams_bashforth", 4), ("dpmpp_2m", 4)):
        with torch.inference_mode():
            found = Sampler(settings.process, Pick(solver)).sample(
                lambda points, condition: network(points, condition).sample, noise, 4
            )
        assert found.nfe == nfe
        assert found.samples.shape == noise.shape
        assert torch.isfinite(found.samples).all()


def test_deviation_of_a_store_is_that_of_what_the_network_sees(store):
    values = store.batch(np.arange(40)).double()
    expected = float((values - values.mean()).square().mean().sqrt())
    assert store.deviation() == pytest.approx(expected, rel=1e-9)
    assert store.deviation(block=7) == pytest.approx(expected, rel=1e-9)
