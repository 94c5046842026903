"""Figure of savings: where markers and bars are, and what stands for what cannot be drawn."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures.saving import saving
from dansm.io.tables import SPEED_COLUMNS


@pytest.fixture
def speed():
    shared = {
        "dataset": "toy",
        "process": "rectified_flow",
        "sampler": "euler",
        "feature_extractor": "classifier",
        "reference": "training",
        "metric": "frechet_distance",
        "baseline": "vanilla",
        "seeds": 5,
        "seeds_at_least": 0,
        "seeds_at_most": 0,
    }
    rows = [shared | {"run": "vanilla", "coupling": "independent", "match_size": 0, "steps": 3}]
    for match_size, percent in ((100, 35.0), (1000, 60.0)):
        for steps in (3, 10):
            rows.append(
                shared
                | {
                    "run": f"dansm_{match_size}",
                    "coupling": "greedy",
                    "match_size": match_size,
                    "steps": steps,
                    "saving_percent": percent,
                    "saving_low": percent - 5,
                    "saving_high": percent + 5,
                    "seconds_saving_percent": percent - 20,
                }
            )
    return pd.DataFrame(rows).reindex(columns=list(SPEED_COLUMNS)).astype(SPEED_COLUMNS)


def markers(axes):
    """Return colour, place and marker of every marker drawn."""
    return {
        (line.get_color(), round(float(line.get_xdata()[0]), 6), line.get_marker())
        for line in axes.lines
        if line.get_linestyle() == "None"
    }


def test_savings_and_intervals_are_the_tables(speed):
    figure = saving(speed, "toy", "training")
    three, ten = figure.axes
    assert [axes.get_title().strip() for axes in (three, ten)] == ["3 steps", "10 steps"]
    names = [label.get_text() for label in three.get_yticklabels()]
    assert names == ["Match size 100", "Match size 1,000"]
    assert {(x, m) for _, x, m in markers(three)} == {
        (35, "o"),
        (60, "o"),
        (15, "s"),
        (40, "s"),
    }
    bars = {tuple(np.round(line.get_xdata(), 6)) for line in three.lines if line.get_alpha() == 0.6}
    assert bars == {(30, 40), (55, 65)}


def test_bounds_are_arrows_and_open_intervals_end_at_the_edge(speed):
    reached = (speed["match_size"] == 100) & (speed["steps"] == 3)
    speed.loc[reached, "seeds_at_least"] = 1
    speed.loc[reached, "saving_high"] = 100.0
    speed.loc[reached, "saving_low"] = -np.inf
    axes = saving(speed, "toy", "training").axes[0]
    assert {(35, ">"), (15, ">"), (60, "o")} < {(x, m) for _, x, m in markers(axes)}
    bars = [tuple(line.get_xdata()) for line in axes.lines if line.get_alpha() == 0.6]
    assert (axes.get_xlim()[0], 100) in bars


def test_vanilla_alone_saves_nothing(speed):
    with pytest.raises(InputError, match="expected runs beside the baselines, found none"):
        saving(speed[speed["coupling"] == "independent"], "toy", "training")
