"""Training on a device: half precision, memory format, compilation, several processes."""

import numpy as np
import pytest
import torch

for package in ("accelerate", "diffusers", "pydantic", "tensorboard"):
    pytest.importorskip(package)

from accelerate.state import AcceleratorState  # noqa: E402

from dansm.data.store import open_store, write_store  # noqa: E402
from dansm.io.files import read_json  # noqa: E402
from dansm.training.launching import launch_training  # noqa: E402
from dansm.training.trainer import Trainer  # noqa: E402

from ..unit.factories import make_settings  # noqa: E402

NETWORK = {
    "channels": [32, 64],
    "layers_per_block": 1,
    "attention_at": [8],
    "dropout": 0,
    "norm_groups": 8,
}
SETTINGS = make_settings(
    shape=(3, 16, 16),
    network=NETWORK,
    coupling={"greedy": {"match_size": 50}},
    batch_size=16,
    budget_images=96,
)


@pytest.fixture
def store(tmp_path):
    images = np.random.default_rng(0).standard_normal((64, 3, 16, 16), np.float32)
    write_store(
        tmp_path / "store",
        [images],
        count=64,
        shape=images.shape[1:],
        dtype="float32",
        value_range=None,
        source="random",
        licence="none",
    )
    return open_store(tmp_path / "store")


@pytest.fixture(autouse=True)
def precision_of_a_test():
    """Let each test set the precision, which is that of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def trained(settings, store, folder):
    """Return the trainer after some steps, and their losses."""
    trainer = Trainer(settings, store, folder)
    for _, pairs in zip(range(6), trainer.coupling.pairs(trainer.batches), strict=False):
        trainer.advance(pairs)
    return trainer, trainer.check_finite()[0]


@pytest.mark.parametrize(
    ("way", "tolerance"),
    [
        ({"channels_last": True}, 0.02),
        ({"mixed_precision": "bf16"}, 0.05),
        ({"compile": True}, 0.02),
        ({"mixed_precision": "bf16", "channels_last": True, "compile": True}, 0.05),
    ],
    ids=["channels last", "bf16", "compiled", "all"],
)
def test_every_way_trains_as_plain_steps_do(way, tolerance, device, store, tmp_path):
    if device.type == "cpu" and way.keys() & {"mixed_precision", "compile"}:
        pytest.skip("needs a GPU")
    if "mixed_precision" in way and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip(f"{torch.cuda.get_device_name()} has no bf16")
    _, expected = trained(SETTINGS, store, tmp_path / "plain")
    AcceleratorState._reset_state(reset_partial_state=True)
    trainer, found = trained(SETTINGS.model_copy(update=way), store, tmp_path / "tuned")
    assert trainer.device.type == device.type
    assert len(found) == 6 and found == pytest.approx(expected, rel=tolerance)
    network = trainer.bare_network
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    weight = network.mid_block.resnets[0].conv1.weight
    last = weight.is_contiguous(memory_format=torch.channels_last)
    assert last == way.get("channels_last", False)
    assert (network._compiled_call_impl is not None) == way.get("compile", False)


def test_two_cards_train_together(device, store, tmp_path):
    if device.type == "cpu" or torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    launch_training(SETTINGS, store.path, tmp_path / "run", processes=2, threads=2)
    run = read_json(tmp_path / "run" / "run.json")
    assert run["processes"] == 2
    assert run["hardware"]["device"] == torch.cuda.get_device_name()
