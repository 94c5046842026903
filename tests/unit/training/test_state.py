"""The rolling state: nothing but what was saved is taken up."""

import random

import pytest
import torch

from dansm.errors import InputError
from dansm.training.state import RollingState

CONTENT = {
    "identity": "a run",
    "network": {"weight": torch.arange(300).float()},
    "pairings": [{"ahead": [(torch.ones(2), torch.zeros(2), {})]}],
    "stats": [{"loss": 0.5}],
}


@pytest.fixture
def state(tmp_path):
    state = RollingState(tmp_path / "training" / "state.pt", seconds=5.0)
    state.save(CONTENT)
    return state


def test_what_was_saved_is_read(state):
    found = state.read()
    assert torch.equal(found["network"]["weight"], CONTENT["network"]["weight"])
    assert (found["identity"], found["stats"]) == (CONTENT["identity"], CONTENT["stats"])
    assert RollingState(state.path.with_name("none.pt"), seconds=5.0).read() is None


def test_one_flipped_bit_anywhere_is_refused(state):
    whole = state.path.read_bytes()
    draws = random.Random(0)
    for place in [0, len(whole) - 1, *(draws.randrange(len(whole)) for _ in range(200))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draws.randrange(8)
        state.path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"^{state.path}: expected a training state.*delete"):
            state.read()


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 500, -32, -1])
def test_a_state_that_was_cut_is_refused(state, size):
    state.path.write_bytes(state.path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"^{state.path}: expected a training state"):
        state.read()


def test_a_folder_in_its_place_is_refused(state):
    state.path.unlink()
    state.path.mkdir()
    with pytest.raises(InputError, match=f"^{state.path}: expected a training state"):
        state.read()
