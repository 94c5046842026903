"""Weight files: the same bytes for the same weights, and nothing loaded of a wrong one."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dansm.config import Network
from dansm.errors import InputError
from dansm.models.networks import make_network
from dansm.models.weights import load_weights, save_weights

PRESET = Network(channels=[8, 16], layers_per_block=1, attention_at=[4], dropout=0.1, norm_groups=4)
SHAPE = (2, 8, 8)
ABOUT = {"dataset": "toy", "step": 3}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def saved(tmp_path):
    network = make_network(PRESET, SHAPE, seed=1)
    save_weights(tmp_path / "w.safetensors", network.state_dict(), ABOUT)
    return tmp_path / "w.safetensors"


def test_weights_come_back_bit_for_bit_and_files_are_reproducible(saved, tmp_path):
    network = make_network(PRESET, SHAPE, seed=2)
    load_weights(saved, network, ABOUT)
    assert equal(network.state_dict(), make_network(PRESET, SHAPE, seed=1).state_dict())
    save_weights(tmp_path / "again.safetensors", network.state_dict(), ABOUT)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()
    with safe_open(saved, framework="pt") as file:
        assert json.loads(file.metadata()["dansm"]) == ABOUT


def test_only_the_expected_keys_of_the_description_are_compared(saved):
    load_weights(saved, make_network(PRESET, SHAPE), {"step": 3})
    load_weights(saved, make_network(PRESET, SHAPE), {})


def rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    weights = load_file(path)
    change(weights)
    save_file(weights, path, about)


def poison(weights):
    weights["conv_in.bias"][1] = torch.nan


DAMAGES = {
    "missing": (lambda p: p.unlink(), "expected network weights, found no file"),
    "cut short": (
        lambda p: p.write_bytes(p.read_bytes()[:-100]),
        "complete .*, found [0-9]+ bytes",
    ),
    "header only": (lambda p: p.write_bytes(p.read_bytes()[:50]), "found 50 bytes"),
    "empty": (lambda p: p.write_bytes(b""), "found 0 bytes"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "expected a complete safetensors file"),
    "text": (lambda p: p.write_text("<html>" * 9), "found 54 bytes"),
    "nan": (lambda p: rewrite(p, poison), "expected finite weights, found NaN .* in conv_in.bias"),
    "a weight less": (
        lambda p: rewrite(p, lambda w: w.pop("conv_in.bias")),
        r"expected conv_in.bias of shape and type \(\(8,\), torch.float32\), found None",
    ),
    "a weight more": (
        lambda p: rewrite(p, lambda w: w.update(extra=torch.zeros(2))),
        r"expected extra of shape and type None, found \(\(2,\)",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_weights_are_refused_and_not_loaded(saved, damage, message):
    damage(saved)
    network = make_network(PRESET, SHAPE, seed=7)
    with pytest.raises(InputError, match=message) as caught:
        load_weights(saved, network, ABOUT)
    assert str(saved) in str(caught.value)
    assert equal(network.state_dict(), make_network(PRESET, SHAPE, seed=7).state_dict())


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"step": 4}, "expected step 4, found 3"),
        ({"dataset": "toy", "seed": 1}, "expected seed 1, found None"),
    ],
)
def test_weights_of_another_run_are_refused(saved, expected, message):
    with pytest.raises(InputError, match=message) as caught:
        load_weights(saved, make_network(PRESET, SHAPE), expected)
    assert str(saved) in str(caught.value)


def test_weights_of_another_network_are_refused(saved):
    wider = PRESET.model_copy(update={"channels": [12, 16]})
    with pytest.raises(InputError, match=r"another network; expected \S+ of shape .*, found \(\(8"):
        load_weights(saved, make_network(wider, SHAPE), ABOUT)


def test_weights_of_another_dtype_are_refused(saved):
    rewrite(saved, lambda w: w.update({"conv_in.bias": w["conv_in.bias"].to(torch.bfloat16)}))
    with pytest.raises(InputError, match="float32"):
        load_weights(saved, make_network(PRESET, SHAPE), ABOUT)
