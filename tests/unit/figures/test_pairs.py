"""Figures of noise-sample pairs: what is drawn are the tables' numbers."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from scipy.stats import t as student_t

from dansm.errors import InputError
from dansm.figures.pairs import (
    loss_over_time,
    nearest_share,
    noise_sample_tsne,
    path_geometry,
)
from dansm.io.tables import CROSSING_COLUMNS, LOSS_COLUMNS, PATH_COLUMNS

KINDS = [("random", 0), ("matched", 10), ("matched", 1000), ("preferable", 0)]
NAMES = ["random", "matched, 10", "matched, 1,000", "preferable"]


def table(rows, columns):
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


@pytest.fixture
def paths():
    rng = np.random.default_rng(0)
    rows = []
    for kind, size in KINDS:
        for draw in range(3):
            named = ["d", kind, "greedy", size, 0, draw]
            rows += [
                [*named, 20, quantity, rng.uniform(5, 9)]
                for quantity in ("path_length", "inter_path_average", "inter_path_minimum")
            ]
            rows += [[*named, batch, "nearest_share", rng.uniform()] for batch in (5, 20)]
    return table(rows, PATH_COLUMNS)


def values(rows, kind, quantity, pairs=None):
    rows = rows[(rows["kind"] == kind[0]) & (rows["match_size"] == kind[1])]
    rows = rows[rows["quantity"] == quantity]
    if pairs is not None:
        rows = rows[rows["pairs"] == pairs]
    return rows["value"].to_numpy(float)


def half_width(found):
    return student_t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5


def bars(axes):
    """Return centre and half height of each vertical error bar, in the order drawn."""
    segments = [c.get_segments() for c in axes.collections if isinstance(c, LineCollection)]
    ends = np.array([segment for group in segments for segment in group])
    upright = ends[np.isclose(ends[:, 0, 0], ends[:, 1, 0])]
    return upright.mean(1)[:, 1], (upright[:, 1, 1] - upright[:, 0, 1]) / 2


@pytest.mark.parametrize("draws", [1, 3])
def test_the_tsne_shows_each_kind_and_counts_of_all(tmp_path, draws):
    rng = np.random.default_rng(0)
    points = {f"{kind}-{size}": rng.normal(size=(2, 12, 2)) for kind, size in KINDS}
    np.savez(tmp_path / "tsne.npz", **points)
    rows = [
        ["d", kind, size, 0, draw, 12, 8.0, 10 * place + draw]
        for place, (kind, size) in enumerate(KINDS)
        for draw in range(draws)
    ]
    crossings = table(rows, CROSSING_COLUMNS)
    figure = noise_sample_tsne(crossings, tmp_path / "tsne.npz", "d")
    shown = [0, 2, 3]  # of matched noises the larger size
    assert len(figure.axes) == 3
    for axes, place in zip(figure.axes, shown, strict=True):
        (lines,) = [c for c in axes.collections if isinstance(c, LineCollection)]
        samples, noises = points["{}-{}".format(*KINDS[place])]
        np.testing.assert_allclose(lines.get_segments(), np.stack([noises, samples], 1))
        kind = "matched noises, match size 1,000" if place == 2 else f"{KINDS[place][0]} noises"
        title = f"{kind}\n{10 * place} crossings"
        title += f" (mean of 3: {10 * place + 1:.1f})" if draws == 3 else ""
        assert axes.get_title() == title
    assert "12 noise-sample pairs, perplexity 8" in figure.get_suptitle()
    np.savez(tmp_path / "tsne.npz", **points | {"random-0": np.zeros((2, 5, 2))})
    with pytest.raises(InputError, match=r"random-0: expected points of shape \(2, 12, 2\)"):
        noise_sample_tsne(crossings, tmp_path / "tsne.npz", "d")


def test_stored_samples_have_no_panel_of_preferable_noises_and_say_why(tmp_path):
    np.savez(tmp_path / "tsne.npz", **{f"{k}-{s}": np.eye(2)[:, None] * 1.0 for k, s in KINDS[:2]})
    rows = [["d", kind, size, None, 0, 1, 0.5, 0] for kind, size in KINDS[:2]]
    crossings = table(rows, CROSSING_COLUMNS)
    figure = noise_sample_tsne(crossings, tmp_path / "tsne.npz", "d")
    assert len(figure.axes) == 2
    assert "no model was trained" in figure.get_suptitle()


def test_an_unknown_kind_is_refused(paths):
    with pytest.raises(InputError, match=r"expected kinds of .*found \['odd'\]"):
        path_geometry(paths.assign(kind="odd"), "d")


def test_paths_have_means_intervals_and_draws_by_kind(paths):
    figure = path_geometry(paths, "d")
    quantities = ["path_length", "inter_path_average", "inter_path_minimum"]
    for axes, quantity in zip(figure.axes, quantities, strict=False):
        assert [label.get_text() for label in axes.get_xticklabels()] == NAMES
        centres, halves = bars(axes)
        for place, kind in enumerate(KINDS):
            found = values(paths, kind, quantity)
            assert centres[place] == pytest.approx(found.mean())
            assert halves[place] == pytest.approx(half_width(found))
            dots = [line for line in axes.lines if set(line.get_xdata()) == {place + 0.22}]
            np.testing.assert_allclose(dots[0].get_ydata(), found)
    for axes, quantity in zip(figure.axes[3:], quantities[1:], strict=True):
        means = [[values(paths, k, q).mean() for k in KINDS] for q in ("path_length", quantity)]
        correlation = f"{np.corrcoef(*means)[0, 1]:+.2f}".replace("-", "−")
        assert axes.get_title() == f"Correlation over kinds {correlation}"
        np.testing.assert_allclose(bars(axes)[0], means[1])


def test_shares_of_nearest_noises_are_drawn_with_chance(paths):
    figure = nearest_share(paths, "d")
    (axes,) = figure.axes
    lines = {tuple(line.get_ydata()) for line in axes.lines}
    assert (20.0, 5.0) in lines  # chance in batches of 5 and 20
    for kind in KINDS:
        found = [values(paths, kind, "nearest_share", size) for size in (5, 20)]
        assert tuple(100 * of_size.mean() for of_size in found) in lines
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == sorted([*NAMES, "chance, 1 / batch size"])


def test_losses_are_drawn_by_model_and_kind(paths):
    rows = [
        ["d", run, coupling, trained, 0, kind, low, low + 0.5, 9, 1 + place + low + trained, 0.1]
        for run, coupling, trained in (("v", "independent", 0), ("g", "greedy", 10))
        for place, kind in enumerate(("random", "matched", "preferable"))
        for low in (0.5, 0.0)  # in any order
    ]
    figure = loss_over_time(table(rows, LOSS_COLUMNS | {"loss": "Float64"}), paths, "d")
    assert [axes.get_title() for axes in figure.axes] == [
        "Model trained: vanilla, seed 0",
        "Model trained: match size 10, seed 0",
    ]
    for axes, trained in zip(figure.axes, (0, 10), strict=True):
        for place, line in enumerate(axes.lines):
            np.testing.assert_allclose(line.get_xdata(), [0.25, 0.75])
            np.testing.assert_allclose(line.get_ydata(), np.array([1, 1.5]) + place + trained)
            band = axes.collections[place].get_paths()[0].vertices[:, 1]
            expected = line.get_ydata()[0] - 0.196, line.get_ydata()[1] + 0.196
            assert (band.min(), band.max()) == pytest.approx(expected)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["random noises", "matched noises, match size 1,000", "preferable noises"]
