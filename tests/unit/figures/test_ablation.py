"""Figure of the comparison: what is drawn are the means, intervals and times of the table."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures import coupling_ablation

METHODS = {("independent", 0): 9.0, ("greedy", 100): 6.0, ("semidiscrete", 0): 4.0}


@pytest.fixture
def table():
    rows = [
        {
            "dataset": "toy",
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": match_size,
            "seed": seed,
            "images_seen": images,
            "sampler": "euler",
            "steps": steps,
            "seed_range": 0,
            "metric": "frechet_distance",
            "feature_extractor": "digit_classifier",
            "value": level * 1000 / images + seed - 3 / steps,
            "seconds": images / 100 + seed,
        }
        for (coupling, match_size), level in METHODS.items()
        for seed in (0, 1)
        for images in (500, 1000)
        for steps in (3, 10)
    ]
    return pd.DataFrame(rows)


def test_finals_and_curves_are_the_tables(table):
    figure = coupling_ablation(table)
    three, ten, by_images, by_seconds = [axes for sub in figure.subfigs for axes in sub.axes]
    assert [axes.get_title() for axes in (three, ten)] == [
        "Distance,\n3 steps",
        "Distance,\n10 steps",
    ]
    assert [label.get_text() for label in three.get_yticklabels()] == [
        "semidiscrete",
        "Match size 100",
        "Vanilla",
    ]
    drawn = [bar.lines[0].get_xdata()[0] for bar in three.containers]
    assert drawn == pytest.approx([3.5, 5.5, 8.5])
    best = by_images.lines[0].get_xydata()
    assert best == pytest.approx(np.array([[500, 7.5], [1000, 3.5]]))
    assert by_seconds.lines[0].get_xdata() == pytest.approx([5.5, 10.5])
    assert "2 seeds" in figure.get_suptitle()


def test_distances_over_several_features_are_not_mixed(table):
    other = table.assign(feature_extractor="inception_clean")
    with pytest.raises(InputError, match=r"one extractor's features.*inception_clean"):
        coupling_ablation(pd.concat([table, other]))


def test_path_lengths_and_costs_stand_beside_the_distances(table):
    marginals = pd.DataFrame(
        [
            {"name": name, "match_size": size, "window": window, "statistic": statistic}
            | {"value": value * (1 if window == "stream" else 99)}
            for k, (name, size) in enumerate(METHODS)
            for statistic, value in (("path_length", 10.0 - k), ("microseconds_per_sample", k + 1))
            for window in ("stream", "batch")
        ]
    )
    more = table[table["steps"] == 10].assign(steps=100)
    figure = coupling_ablation(pd.concat([table, more]), marginals)
    three, ten, lengths, costs, *_ = [axes for sub in figure.subfigs for axes in sub.axes]
    titles = [" ".join(axes.get_title().split()) for axes in (three, ten, lengths, costs)]
    assert titles == ["Distance, 3 steps", "Distance, 10 steps", "Path length", "Cost of matching"]
    # From the top: semidiscrete, greedy, vanilla.
    assert [line.get_xdata()[0] for line in lengths.lines] == [8, 9, 10]
    assert [line.get_xdata()[0] for line in costs.lines] == [3, 2, 1]
    assert costs.get_xscale() == "log"
    # All distances are within the axes that they share.
    assert three.get_xlim() == ten.get_xlim()
    drawn = [bar.lines[0].get_xdata()[0] for axes in (three, ten) for bar in axes.containers]
    assert three.get_xlim()[0] < min(drawn) and max(drawn) < three.get_xlim()[1]
