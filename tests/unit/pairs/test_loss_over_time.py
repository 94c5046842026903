"""Loss over time: recomputed for a toy model that is known in closed form."""

import numpy as np
import pytest
import torch
from torch import nn

from dansm.io.tables import LOSS_COLUMNS, read_table
from dansm.pairs.draws import TrainedRun
from dansm.pairs.loss_over_time import measure_loss_over_time
from dansm.pairs.paths import PREFERABLE, RANDOM, Kind, PairDraws
from dansm.randomness import generator

from ..factories import make_settings

MATCHED = Kind("matched", "greedy", 30)


class Constant(nn.Module):
    """Moves every point by the same velocity, so its own pairs have no loss."""

    def __init__(self):
        super().__init__()
        self.velocity = nn.Parameter(torch.full((1, 4, 4), 2.0))
        self.seen = []

    def forward(self, points, times):
        self.seen.append((points, times))
        return type("Out", (), {"sample": self.velocity.expand(points.shape)})


def test_losses_are_those_of_the_velocity_on_the_same_samples(tmp_path, monkeypatch):
    network = Constant()
    monkeypatch.setattr(TrainedRun, "load", lambda self: network)
    run = TrainedRun("vanilla", make_settings(), tmp_path, 4)
    options = {"count": 10, "match_size": 30, "bins": 4, "seed": 5}
    measure_loss_over_time([run], tmp_path / "losses.csv", **options)
    table = read_table(tmp_path / "losses.csv", LOSS_COLUMNS)
    assert set(table["run"]) == {"vanilla"}
    assert len(table) == 3 * 4
    np.testing.assert_allclose(table["t_low"][:4], 1e-3 + 0.999 * np.arange(4) / 4)
    np.testing.assert_allclose(table["t_high"][3], 1)
    samples = run.generate(network, 10)
    pairs = PairDraws(samples[None], (0,), (30,), 5)
    for kind in (RANDOM, MATCHED, PREFERABLE):
        rows = table[table["kind"] == kind.name]
        noise = pairs.noises(kind)[0]
        errors = (2.0 - (samples - noise)).square().mean((1, 2, 3))
        expected = float(errors.mean())
        assert rows["loss"].tolist() == pytest.approx([expected] * 4, rel=1e-4, abs=1e-5)
        error = float(errors.std()) / np.sqrt(10)
        assert rows["standard_error"].tolist() == pytest.approx([error] * 4, rel=1e-4, abs=1e-5)
        assert (rows["pairs"] == 10).all() and (rows["match_size"] == 0).all()
    preferable = table[table["kind"] == "preferable"]
    # RK45 starts at ε, so its samples lack ε of the way.
    assert preferable["loss"].max() < 1e-4 < table["loss"].max()


def test_points_lie_at_the_times_of_their_part_for_every_kind(tmp_path, monkeypatch):
    network = Constant()
    monkeypatch.setattr(TrainedRun, "load", lambda self: network)
    run = TrainedRun("vanilla", make_settings(), tmp_path, 10)
    options = {"count": 10, "match_size": 30, "bins": 2, "seed": 5}
    measure_loss_over_time([run], tmp_path / "losses.csv", **options)
    batches = network.seen[-6:]  # before them the preferable pairs were made
    samples = run.generate(network, 10)
    pairs = PairDraws(samples[None], (0,), (30,), 5)
    for place, kind in enumerate((RANDOM, MATCHED, PREFERABLE)):
        noise = pairs.noises(kind)[0]
        for part in range(2):
            points, times = batches[2 * place + part]
            u = torch.rand(10, generator=generator(5, "part", part))
            t = 1e-3 + 0.999 * (part + u) / 2
            torch.testing.assert_close(times, 999 * t, rtol=1e-5, atol=1e-3)
            t = t[:, None, None, None]
            expected = t * samples + (1 - t) * noise
            torch.testing.assert_close(points, expected, rtol=0, atol=1e-4)
