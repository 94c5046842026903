"""Straightness in two dimensions, against paths whose straightness is known."""

import numpy as np
import pytest
import torch

from dansm.io.tables import STRAIGHTNESS_COLUMNS, read_table
from dansm.pairs.straightness import (
    _trajectories,
    data,
    measure_straightness,
    straightness,
    systems,
)
from dansm.randomness import generator

TIMES = torch.linspace(0, 1, 1001, dtype=torch.float64)


def test_a_straight_path_has_none_and_a_parabola_a_third():
    """x = (t, t²): ∫ (1 − 2 t)² dt = 1/3."""
    parabola = torch.stack([TIMES, TIMES**2], dim=1)
    line = torch.stack([TIMES, TIMES], dim=1)
    states = torch.stack([line, parabola], dim=1)
    velocities = torch.stack(
        [torch.ones_like(line), torch.stack([torch.ones_like(TIMES), 2 * TIMES], dim=1)], dim=1
    )
    found = straightness(states, velocities, TIMES)
    torch.testing.assert_close(found, torch.tensor([0, 1 / 3]).double(), rtol=1e-5, atol=1e-12)


def test_a_line_walked_unevenly_is_not_straight():
    """x = t² (1, 0), velocity 2 t: as far from even speed as the parabola is from its chord."""
    states = torch.stack([TIMES**2, torch.zeros_like(TIMES)], dim=1)[:, None]
    velocities = torch.stack([2 * TIMES, torch.zeros_like(TIMES)], dim=1)[:, None]
    assert float(straightness(states, velocities, TIMES)) == pytest.approx(1 / 3, rel=1e-5)


POINT = torch.tensor([0.5, -0.25])


def flow_to_the_point(points, conditions):
    return (POINT - points) / (1 - conditions[:, None] / 999)


def edm_of_the_point(inputs, conditions):
    """The network whose denoiser is the point: D = c_skip y + c_out F."""
    deviation, sigma = 0.75, (conditions[:, None] / 250).exp()
    scale = (sigma**2 + deviation**2).sqrt()
    return (POINT - deviation**2 / scale * inputs) * scale / (sigma * deviation)


@pytest.mark.parametrize(
    ("name", "network"), [("ot_cfm", flow_to_the_point), ("edm", edm_of_the_point)]
)
def test_the_flow_to_a_single_point_is_straight(name, network):
    """Of both processes, whatever their networks predict."""
    system = next(one for one, _ in systems([8]) if one.name == name)
    states, velocities, times = _trajectories(system, network, 32, 0)
    assert float(straightness(states, velocities, times).max()) < 1e-4
    torch.testing.assert_close(states[-1], POINT.expand(32, 2), rtol=0, atol=0.02)


def test_systems_are_those_of_the_table_with_every_batch_size_of_optimal_transport():
    found = [(system.name, size) for system, size in systems([16, 128])]
    assert found == [
        ("edm", 128),
        ("ot_cfm", 128),
        ("bot_cfm", 16),
        ("bot_cfm", 128),
        ("reflow_2", 128),
        ("lines", 128),
    ]


def test_data_lie_around_eight_points_of_a_circle():
    points = data(4000, generator(0, "test"))
    angles = torch.atan2(points[:, 1], points[:, 0]) / (torch.pi / 4)
    assert set(angles.round().long().remainder(8).tolist()) == set(range(8))
    assert float(points.norm(dim=1).mean()) == pytest.approx(1, abs=0.02)


def test_the_table_has_every_system_and_seed_and_the_same_numbers_again(tmp_path):
    tables = []
    for name in ("first", "second"):
        table, arrays = tmp_path / f"{name}.csv", tmp_path / f"{name}.npz"
        measure_straightness(table, arrays, batch_sizes=[4, 8], steps=3, count=16, seeds=2)
        tables.append(read_table(table, STRAIGHTNESS_COLUMNS))
    found = tables[0]
    assert found.equals(tables[1])
    assert found.groupby("name")["seed"].count().to_dict() == {
        "edm": 2, "ot_cfm": 2, "bot_cfm": 4, "reflow_2": 2, "lines": 2,
    }  # fmt: skip
    assert (found["value"] > 0).all() and (found["n"] == 16).all()
    shown = np.load(tmp_path / "first.npz")
    assert {"data", "edm-8", "bot_cfm-4", "lines-8"} <= {*shown}
    assert shown["edm-8"].shape == (101, 16, 2)
