"""Figure of the comparison: what is drawn are the means, intervals and times of the table."""

import numpy as np
import pandas as pd
import pytest

from dansm.analysis.distances import summarise
from dansm.figures.comparison import comparison
from dansm.io.tables import COMPARISON_COLUMNS

RUNS = {
    "vanilla": ("independent", 0, None, 9.0),
    "dansm_100": ("greedy", 100, None, 6.0),
    "semidiscrete": ("semidiscrete", 0, "metric=covariance", 4.0),
}


def of_process(process, sampler="euler", prefix=""):
    rows = [
        {
            "dataset": "toy",
            "run": prefix + run,
            "process": process,
            "coupling": coupling,
            "match_size": match_size,
            "options": options,
            "times": "uniform",
            "loss": "squared_error",
            "seed": seed,
            "images_seen": images,
            "sampler": sampler,
            "steps": steps,
            "nfe": steps,
            "image_set": 0,
            "metric": "frechet_distance",
            "feature_extractor": "classifier",
            "reference": "training",
            "value": level * 1000 / images + seed - 3 / steps,
            "seconds": images / 100 + seed,
            "baseline": f"{prefix}vanilla",
        }
        for run, (coupling, match_size, options, level) in RUNS.items()
        for seed in (0, 1)
        for images in (500, 1000)
        for steps in (3, 10)
    ]
    return pd.DataFrame(rows).reindex(columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)


@pytest.fixture
def table():
    return of_process("rectified_flow")


def draw(table, marginals=None):
    return comparison(table, summarise(table), marginals, "toy", "training")


def axes_of(figure):
    """Return the axes of all subfigures, from the top, without those of texts."""
    return [axes for part in figure.subfigs for sub in part.subfigs for axes in sub.axes]


def test_finals_and_curves_are_the_tables(table):
    figure = draw(table)
    three, ten, by_images, by_seconds = axes_of(figure)
    titles = [axes.get_title() for axes in (three, ten)]
    assert titles == ["After training,\n3 steps", "After training,\n10 steps"]
    names = [label.get_text() for label in three.get_yticklabels()]
    assert names == ["Semidiscrete, covariance", "Match size 100", "Vanilla"]
    drawn = [bar.lines[0].get_xdata()[0] for bar in three.containers]
    assert drawn == pytest.approx([3.5, 5.5, 8.5])
    best = by_images.lines[-1].get_xydata()
    assert best == pytest.approx(np.array([[500, 7.5], [1000, 3.5]]))
    assert by_seconds.lines[-1].get_xdata() == pytest.approx([5.5, 10.5])
    assert "2 seeds" in figure.get_suptitle() and "differ" not in figure.get_suptitle()
    # The same colour in all panels.
    assert three.containers[0].lines[0].get_color() == by_images.lines[-1].get_color()


def test_each_process_has_a_block_and_inequality_is_said(table):
    other = of_process("diffusion", "ddim_trailing", "diffusion_")
    both = pd.concat([other, table]).assign(unequal="recipe")
    figure = draw(both)
    titles = [part.subfigs[0].get_suptitle() for part in figure.subfigs]
    assert titles == ["Rectified flow, Euler", "Diffusion, DDIM, trailing spacing"]
    assert "runs differ in recipe" in figure.get_suptitle()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3


def test_of_several_features_one_is_shown_and_named(table):
    other = table.assign(feature_extractor="inception_clean", value=table["value"] * 100)
    figure = draw(pd.concat([table, other]))
    assert "classifier" in figure.get_suptitle() and "FID" not in figure.get_suptitle()
    assert max(bar.lines[0].get_xdata()[0] for bar in axes_of(figure)[0].containers) < 10


def test_path_lengths_and_costs_stand_beside_the_distances(table):
    rows = [
        {"dataset": dataset, "coupling": coupling, "match_size": size, "options": options}
        | {"window": window, "statistic": statistic}
        | {"value": value * (1 if window == "stream" and dataset == "toy" else 99)}
        for dataset in ("toy", "other")
        for k, (coupling, size, options, _) in enumerate(RUNS.values())
        for statistic, value in (("path_length", 10.0 - k), ("microseconds_per_sample", k + 1))
        for window in ("stream", "batch")
    ]
    marginals = pd.DataFrame(rows)
    more = table[table["steps"] == 10].assign(steps=100)
    three, ten, lengths, costs, *_ = axes_of(draw(pd.concat([table, more]), marginals))
    titles = [" ".join(axes.get_title().split()) for axes in (lengths, costs)]
    assert titles == ["Path length", "Cost of matching"]
    # From the top: semidiscrete, greedy, vanilla.
    assert [line.get_xdata()[0] for line in lengths.lines] == [8, 9, 10]
    assert [line.get_xdata()[0] for line in costs.lines] == [3, 2, 1]
    assert costs.get_xscale() == "log"
    # All distances are within the axes that they share.
    assert three.get_xlim() == ten.get_xlim()
    drawn = [bar.lines[0].get_xdata()[0] for axes in (three, ten) for bar in axes.containers]
    assert three.get_xlim()[0] < min(drawn) and max(drawn) < three.get_xlim()[1]
    elsewhere = marginals[marginals["dataset"] == "other"]
    assert len(axes_of(draw(table, elsewhere))) == 4
