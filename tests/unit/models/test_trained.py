"""Models of finished runs: those that their run.json says, and no others."""

import json
import random

import pytest

from dansm.errors import InputError
from dansm.io.records import recorded
from dansm.io.run_folder import read_run
from dansm.models.trained import load_model

from ..factories import make_settings, write_run

SETTINGS = make_settings()


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", "vanilla", SETTINGS)


def flip(path, draws):
    content = bytearray(path.read_bytes())
    content[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
    path.write_bytes(content)


def test_one_flipped_bit_of_the_weights_is_refused(run):
    load_model(run, SETTINGS)
    path = run / "model.safetensors"
    whole, draws = path.read_bytes(), random.Random(0)
    for _ in range(40):
        flip(path, draws)
        with pytest.raises(InputError, match=f"^{path}: expected sha256 .* as in run.json, found"):
            load_model(run, SETTINGS)
        path.write_bytes(whole)


def test_one_flipped_bit_of_a_recorded_run_is_refused(tmp_path):
    folder = tmp_path / "results" / "runs" / "toy" / "vanilla" / "seed0"
    outputs = [folder / "model.safetensors", folder / "run.json"]
    with recorded(tmp_path / "results", "train_model", "toy/vanilla/seed0", outputs):
        write_run(folder, "vanilla", SETTINGS)
    load_model(folder, SETTINGS)
    whole, draws = outputs[1].read_bytes(), random.Random(0)
    for _ in range(40):
        flip(outputs[1], draws)
        with pytest.raises(InputError, match=f"^{outputs[1]}: expected a result as its job made"):
            load_model(folder, SETTINGS)
        outputs[1].write_bytes(whole)


@pytest.mark.parametrize(
    "content",
    ["null", "[]", "3", "{}", "{", "", '{"name": "x", "settings": 3}', "[" * 10**5, None],
    ids=lambda content: repr(content)[:20],
)
def test_a_description_that_is_wrong_is_refused(run, content):
    path = run / "run.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=f"^{path}: ") as caught:
        load_model(run, SETTINGS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"snapshots": []},
        {"snapshots": [{"file": 1}]},
        {"settings": {**SETTINGS.plain(), "batch_size": 0}},
        {"model_sha256": None},
    ],
    ids=str,
)
def test_a_description_of_no_run_is_refused(run, change):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=rf"^{path}: {next(iter(change))}.*: expected the JSON"):
        read_run(run)
