"""The figure of reproducibility: image k of each model in column k, the table's numbers beside."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures import read_reproducibility, reproducibility
from dansm.io.tables import REPRODUCIBILITY_COLUMNS


@pytest.fixture
def runs(tmp_path):
    models = [("rectified_flow", "independent", 0, seed) for seed in (0, 1, 2)]
    models += [("rectified_flow", "greedy", 10, seed) for seed in (0, 1)]
    models += [("diffusion", "independent", 0, 0)]
    found = []
    for number, model in enumerate(models):
        sampler, steps = ("rk45", 0) if model[0] == "rectified_flow" else ("ddim_trailing", 100)
        images = np.random.default_rng(number).integers(0, 17, (12, 1, 4, 4), dtype=np.uint8)
        key, path = f"{sampler}-{steps}", tmp_path / f"{number}.npz"
        np.savez(path, **{key: images, f"{key}-nfe": 50.0, "value_range": [0, 16]})
        names = ("process", "coupling", "match_size", "seed")
        found.append(
            dict(zip(names, model, strict=True))
            | {"path": str(path), "sampler": sampler, "steps": steps}
        )
    return found


@pytest.fixture
def table(tmp_path, runs):
    first, *others = ([*run.values()][:4] for run in runs)
    rows = [
        ["d", *first, *other, 12, 0.9 - k / 10, 0.8 - k / 10, 0.95 - k / 10, 0.01 * k, -0.1, 0.1]
        for k, other in enumerate(others)
    ]
    pd.DataFrame(rows, columns=list(REPRODUCIBILITY_COLUMNS)).to_csv(
        tmp_path / "table.csv", index=False
    )
    return read_reproducibility(tmp_path / "table.csv")


def test_rows_are_models_and_numbers_are_the_tables(runs, table):
    figure = reproducibility(table, runs, dataset="d")
    # The second seed of the first model, of the others the first seed only.
    shown = [0, 1, 3, 5]
    numbers, *strips = figure.axes
    assert len(strips) == len(shown)
    for axes, number in zip(strips, shown, strict=True):
        with np.load(runs[number]["path"]) as file:
            images = file[f"{runs[number]['sampler']}-{runs[number]['steps']}"]
        strip = np.asarray(axes.images[0].get_array())
        assert strip.shape == (4, 10 * 5 - 1)
        np.testing.assert_allclose(strip[:, 15:19], images[3, 0] / 16)
        assert (strip[:, 4] == 1).all()
    labels = [axes.get_ylabel() for axes in strips]
    assert labels[1] == "Rectified flow\nvanilla, seed 1"
    assert labels[2:] == ["Rectified flow\nmatch size 10, seed 0", "Diffusion\nvanilla, seed 0"]
    texts = [text.get_text() for text in numbers.texts]
    assert texts == ["0.90", "0.70", "0.50", "reference"]
    marks = {(*line.get_xdata(), *line.get_ydata()) for line in numbers.lines}
    for place, number in enumerate(shown[1:], 1):
        same, other = 0.9 - (number - 1) / 10, 0.01 * (number - 1)
        assert any(np.allclose(mark, (same, place)) for mark in marks if len(mark) == 2)
        assert any(np.allclose(mark, (other, place)) for mark in marks if len(mark) == 2)
    title = figure.get_suptitle()
    assert "adaptive steps" in title and "DDIM, trailing spacing, 100 steps" in title


def test_a_run_that_is_not_compared_is_named(runs, table):
    with pytest.raises(InputError, match=r"expected one row of .*match size 10.*found 0"):
        reproducibility(table[table["match_size_b"] == 0], runs, dataset="d")
