"""Finished runs stay valid: their record and weights are accepted by all later versions.

``golden/`` is never written anew. Where this test fails, what a run is has changed, and all that
was ever trained would be trained again.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file

from dansm.config import Network, RunSettings
from dansm.io.files import read_json, sha256
from dansm.models.trained import load_model

GOLDEN = Path(__file__).parent / "golden"


class LaterNetwork(Network):
    scale: float = 1.0


class LaterSettings(RunSettings):
    """Settings to which fields with defaults were added."""

    network: LaterNetwork
    warmup: int = 0


def test_a_record_and_its_weights_are_accepted():
    run = read_json(GOLDEN / "run.json")
    assert sha256(GOLDEN / "model.safetensors") == run["model_sha256"]
    for kind in (RunSettings, LaterSettings):
        settings = kind.model_validate(run["settings"])
        assert settings.plain() == run["settings"]
        network = load_model(GOLDEN, settings, torch.device("cpu"))
        weights = load_file(GOLDEN / "model.safetensors")
        assert all(torch.equal(network.state_dict()[name], weights[name]) for name in weights)
    assert settings.warmup == 0 and settings.match_size == 10


def test_a_value_of_a_new_field_is_another_run():
    plain = read_json(GOLDEN / "run.json")["settings"]
    settings = LaterSettings.model_validate(plain | {"warmup": 5})
    assert settings.canonical_json() != RunSettings.model_validate(plain).canonical_json()
