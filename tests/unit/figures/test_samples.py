"""Images are at their places, the numbers are the table's, and titles say how all was made."""

import numpy as np
import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.figures.samples import read_samples, reproducibility, sample_grid
from dansm.io.tables import COMPARISON_COLUMNS, REPRODUCIBILITY_COLUMNS

RUNS = {
    "vanilla": ("rectified_flow", "independent", 0, "euler"),
    "dansm_10": ("rectified_flow", "greedy", 10, "euler"),
    "diffusion_vanilla": ("diffusion", "independent", 0, "ddim_trailing"),
}


@pytest.fixture
def distances():
    rows = [
        {
            "run": run,
            "process": process,
            "coupling": coupling,
            "match_size": size,
            "seed": 0,
            "times": "uniform",
            "loss": "squared_error",
            "sampler": sampler,
            "steps": steps,
            "images_seen": images,
            "baseline": "vanilla" if process == "rectified_flow" else "diffusion_vanilla",
        }
        for run, (process, coupling, size, sampler) in RUNS.items()
        for steps, snapshots in ((3, (1, 2)), (5, (1, 2)), (100, (2,)))
        for images in snapshots
    ]
    return pd.DataFrame(rows).reindex(columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)


@pytest.fixture
def samples(tmp_path):
    found = []
    for number, (run, (*_, sampler)) in enumerate(RUNS.items()):
        arrays = {"value_range": [0, 16]}
        keys = [(sampler, 3), (sampler, 5), (sampler, 100)]
        keys += [("rk45", 0)] if sampler == "euler" else []
        for key, steps in keys:
            rng = np.random.default_rng([number, steps])
            arrays[f"{key}-{steps}"] = rng.integers(0, 17, (16, 3, 5, 6), dtype=np.uint8)
            arrays[f"{key}-{steps}-nfe"] = steps + 1.0
        np.savez(tmp_path / f"{run}.npz", **arrays)
        found.append({"run": run, "seed": 0, "path": str(tmp_path / f"{run}.npz")})
    return found


def test_grid_shows_image_k_at_place_k(samples, distances):
    figure = sample_grid(samples, distances, "toy", side=2)
    titles = [part.get_suptitle() for part in figure.subfigs]
    assert titles == ["Rectified flow, Euler", "Diffusion, DDIM, trailing spacing"]
    flow, diffusion = ([axes for axes in part.axes if axes.images] for part in figure.subfigs)
    assert [axes.get_title() for axes in flow] == ["3 steps\n(NFE 4)", "5 steps\n(NFE 6)", "", ""]
    names = [axes.get_ylabel() for axes in flow[::2]]
    assert names == ["Vanilla,\nseed 0", "Match size 10,\nseed 0"]
    assert len(diffusion) == 2
    images = read_samples(samples[1]["path"])["euler", 5][0]
    mosaic = flow[3].images[0].get_array()
    assert mosaic.shape == (11, 13, 3)
    np.testing.assert_allclose(mosaic[6:, :6], images[2].transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_range": [5, 5]}, "value_range: expected two bounds, found"),
        ({"value_range": np.array([9, 2], np.uint8)}, "value_range: expected two bounds, found"),
        ({"value_range": 7}, "value_range: expected two bounds, found"),
        ({"euler-3": np.zeros((16, 2, 5, 6))}, r"euler-3: expected .* found \(16, 2, 5, 6\)"),
        ({"euler-3-nfe": np.zeros(2)}, "euler-3: expected .* a number of evaluations"),
        ({"euler-nfe": 3.0}, "euler: expected"),
        ({"euler-3": np.full((16, 3, 5, 6), np.nan)}, "euler-3: expected finite"),
    ],
)
def test_samples_that_are_none_are_named(samples, changes, message):
    path = samples[0]["path"]
    with np.load(path) as file:
        arrays = dict(file) | changes
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=rf"vanilla\.npz: {message}"):
        read_samples(path)


def test_missing_samples_are_named(samples, distances):
    with pytest.raises(InputError, match=r"dansm_10\.npz: expected images of euler, 7 steps"):
        sample_grid(samples[1:], distances.replace({"steps": {3: 7}}), "toy")
    with pytest.raises(InputError, match=r"runs of .*'vanilla'.*found \['reflow'\]"):
        sample_grid([{**samples[0], "run": "reflow"}], distances, "toy")
    with pytest.raises(InputError, match=r"none\.npz: expected arrays, found no file"):
        sample_grid([{**samples[0], "path": "none.npz"}], distances, "toy")


@pytest.mark.parametrize(("side", "gap", "scaling"), [(32, 1, "nearest"), (256, 8, "antialiased")])
def test_large_images_are_as_apart_as_small_ones_and_not_aliased(
    tmp_path, distances, side, gap, scaling
):
    arrays = {"euler-3": np.zeros((16, 3, side, side), np.uint8), "euler-3-nfe": 3.0}
    np.savez(tmp_path / "s.npz", value_range=[0, 16], **arrays)
    sample = {"run": "vanilla", "seed": 0, "path": str(tmp_path / "s.npz")}
    figure = sample_grid([sample], distances[distances["steps"] == 3], "toy")
    (image,) = figure.subfigs[0].axes[0].images
    assert image.get_interpolation() == scaling
    white = (image.get_array() == 1).all(axis=(1, 2))
    assert white.sum() == 3 * gap and white[side : side + gap].all()


@pytest.fixture
def similarities():
    others = [("vanilla", 1), ("vanilla", 2), ("dansm_10", 0), ("diffusion_vanilla", 0)]
    rows = [
        {"run_a": "vanilla", "seed_a": 0, "run_b": run, "seed_b": seed, "similarity": 0.9 - k / 10}
        | {"low": 0.8 - k / 10, "high": 0.95 - k / 10, "shuffled": 0.01 * k}
        | {"shuffled_low": -0.1, "shuffled_high": 0.1}
        for k, (run, seed) in enumerate(others)
    ]
    table = pd.DataFrame(rows).reindex(columns=list(REPRODUCIBILITY_COLUMNS))
    return table.astype(REPRODUCIBILITY_COLUMNS)


def test_rows_are_runs_and_numbers_are_the_tables(similarities, samples, distances):
    figure = reproducibility(similarities, samples, distances, "toy")
    numbers, *strips = figure.axes
    for axes, sample in zip(strips, samples, strict=True):
        found = read_samples(sample["path"])
        images = found.get(("rk45", 0), found.get(("ddim_trailing", 100)))[0]
        strip = np.asarray(axes.images[0].get_array())
        assert strip.shape == (5, 10 * 7 - 1, 3)
        np.testing.assert_allclose(strip[:, 21:27], images[3].transpose(1, 2, 0))
        assert (strip[:, 6] == 1).all()
    assert [axes.get_ylabel() for axes in strips] == [
        "Rectified flow\nvanilla, seed 0",
        "Rectified flow\nmatch size 10, seed 0",
        "Diffusion\nvanilla, seed 0",
    ]
    assert [text.get_text() for text in numbers.texts] == ["0.90 (its seed 1)", "0.70", "0.60"]
    marks = {(*line.get_xdata(), *line.get_ydata()) for line in numbers.lines}
    for place, (same, other) in enumerate([(0.9, 0), (0.7, 0.02), (0.6, 0.03)]):
        assert any(np.allclose(mark, (same, place)) for mark in marks if len(mark) == 2)
        assert any(np.allclose(mark, (other, place)) for mark in marks if len(mark) == 2)
    title = figure.get_suptitle()
    assert "RK45, adaptive steps" in title and "DDIM, trailing spacing, 100 steps" in title


def test_the_first_run_is_the_reference_where_it_has_one_seed(similarities, samples, distances):
    alone = similarities[similarities["run_b"] != "vanilla"]
    texts = reproducibility(alone, samples, distances, "toy").axes[0].texts
    assert [text.get_text() for text in texts] == ["reference", "0.70", "0.60"]


def test_a_run_that_is_not_compared_is_named(similarities, samples, distances):
    with pytest.raises(InputError, match=r"expected one row of vanilla, seed 0, and dansm_10"):
        reproducibility(similarities[:2], samples, distances, "toy")
