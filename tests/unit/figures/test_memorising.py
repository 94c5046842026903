"""Shares stand at their runs with the held-out images' own beside, images at their places."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures.memorising import memorising
from dansm.io.tables import SUMMARY_COLUMNS

METRICS = ("nearer_to_training", "copies")
SPACES = ("classifier", "pixels")


@pytest.fixture
def table():
    """Two runs by Euler in 3 and 50 steps, of three seeds, and held-out images."""
    rows = [
        {
            "run": run,
            "process": "rectified_flow",
            "coupling": coupling,
            "match_size": size,
            "times": "uniform",
            "loss": "squared_error",
            "baseline": "vanilla",
            "sampler": "euler",
            "steps": steps,
            "metric": metric,
            "feature_extractor": space,
            "seeds": 3,
            "mean": mean + place / 10 + steps,
            "low": mean + place / 10 + steps - 0.02,
            "high": mean + place / 10 + steps + 0.03,
        }
        for run, coupling, size, mean in (
            ("vanilla", "independent", 0, 0.5),
            ("dansm_10", "greedy", 10, 0.6),
        )
        for steps in (3, 50)
        for metric in METRICS
        for place, space in enumerate(SPACES)
    ]
    rows += [
        {"metric": metric, "feature_extractor": space, "mean": value, "process": "real_held_out"}
        for metric, value in zip(METRICS, (0.48, 0.05), strict=True)
        for space in SPACES
    ]
    return pd.DataFrame(rows).reindex(columns=list(SUMMARY_COLUMNS)).astype(SUMMARY_COLUMNS)


@pytest.fixture
def samples(tmp_path):
    found = []
    for seed, run in enumerate(("vanilla", "dansm_10")):
        images = np.random.default_rng(seed).integers(0, 17, (3, 5, 3, 6, 6), dtype=np.uint8)
        arrays = {"nearest": images, "nearest-ratios": np.linspace(0.1, 0.5, 5)}
        path = str(tmp_path / f"{run}.npz")
        np.savez(path, value_range=[0, 16], **arrays, **{"nearest-of": "euler-50"})
        found.append({"run": run, "seed": 0, "path": path})
    return found


def test_every_run_has_its_shares_and_the_images_they_are_of(table, samples):
    figure = memorising(table, samples, "toy")
    assert figure.get_suptitle().splitlines()[1].startswith("Rectified flow, Euler, 50 steps; 3 se")
    near, copied, first, second = figure.axes
    assert [text.get_text() for text in near.get_yticklabels()] == ["Vanilla", "Match size 10"]
    assert near.get_xlabel() == "Share nearer to training images"
    points = sorted((bar[0].get_xdata()[0], bar[0].get_ydata()[0]) for bar in near.containers)
    expected = [(50.5, 0.15), (50.6, -0.15), (50.6, 1.15), (50.7, 0.85)]  # pixels above
    np.testing.assert_allclose(points, expected)
    for axes, value in ((near, 0.48), (copied, 0.05)):
        lines = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in lines] == [value] * 2
        assert len({line.get_color() for line in lines}) == 2
    assert [text.get_text() for text in first.get_xticklabels()] == ["0.10", "0.20", "0.30", "0.40"]
    with np.load(samples[1]["path"]) as arrays:
        images = arrays["nearest"] / 16
    strip = second.images[0].get_array()
    for place, kind in ((0, 0), (0, 2), (3, 1)):
        left = place * (3 * 7 + 2) + kind * 7
        expected = images[kind, place].transpose(1, 2, 0)
        np.testing.assert_allclose(strip[:, left : left + 6], expected)


def test_what_is_missing_is_named(table, samples):
    with pytest.raises(InputError, match="expected vanilla by euler, 50 steps, found none"):
        memorising(table[table["steps"] != 50], samples, "toy")
    with pytest.raises(
        InputError, match=r"samples: expected runs of .*'vanilla'.*found \['moon'\]"
    ):
        memorising(table, [samples[0] | {"run": "moon"}], "toy")
    np.savez(samples[0]["path"], value_range=[0, 16])
    with pytest.raises(InputError, match=r"vanilla\.npz: nearest: expected images with their"):
        memorising(table, samples, "toy")
