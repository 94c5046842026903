"""Distances: the numbers drawn are those of the file, and the titles say what they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from scipy import stats

from dansm.analysis.distances import summarise
from dansm.errors import InputError
from dansm.figures.base import save_figure
from dansm.figures.distances import distance_curves, distance_table
from dansm.io.tables import COMPARISON_COLUMNS
from dansm.metrics.intervals import crossed_interval

SNAPSHOTS = [100, 200, 400]


def make_distances(extractor="classifier", metric="frechet_distance") -> pd.DataFrame:
    """Two seeds, two runs; 3 steps at all snapshots, RK45 and 3 image sets at the last."""
    rng = np.random.default_rng(0)
    shared = {"dataset": "digits", "metric": metric, "feature_extractor": extractor}
    shared |= {"reference": "held_out"}
    shared |= {"n_samples": 50, "baseline": "vanilla"}
    described = {"process": "rectified_flow", "times": "uniform", "loss": "squared_error"}
    rows = []
    for match_size in (0, 100):
        for seed in (0, 1):
            coupling = "greedy" if match_size else "independent"
            named = {"run": f"dansm_{match_size}" if match_size else "vanilla", "seed": seed}
            run = shared | described | named | {"coupling": coupling, "match_size": match_size}
            for images in SNAPSHOTS:
                for image_set in range(3 if images == SNAPSHOTS[-1] else 1):
                    at = run | {"images_seen": images, "image_set": image_set}
                    at["seconds"] = images / 10 + seed
                    euler = {"sampler": "euler", "steps": 3, "nfe": 3.0}
                    rows.append(at | euler | {"value": rng.uniform(1, 9)})
                    if images == SNAPSHOTS[-1]:
                        rk45 = {"sampler": "rk45", "steps": None, "nfe": 80.0 + seed}
                        rows.append(at | rk45 | {"value": rng.uniform(1, 9)})
    halves = shared | {"process": "real_halves"}
    rows += [halves | {"image_set": k, "value": rng.uniform(0.1, 1)} for k in range(5)]
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)).astype(COMPARISON_COLUMNS)


@pytest.fixture
def distances() -> pd.DataFrame:
    return make_distances()


def draw_table(distances, metric="frechet_distance"):
    return distance_table(summarise(distances), "digits", "held_out", metric)


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_table_holds_the_mean_over_seeds_of_the_mean_over_image_sets(distances):
    table, figure = draw_table(distances)
    best = {}
    for match_size, name in ((0, "Vanilla"), (100, "Match size 100")):
        rows = distances.dropna(subset=["steps"])
        rows = rows[(rows["match_size"] == match_size) & (rows["images_seen"] == 400)]
        values = rows.pivot(index="seed", columns="image_set", values="value").to_numpy(float)
        mean, low, *_ = crossed_interval(values)
        assert mean == pytest.approx(np.mean([row.mean() for row in values]))
        printed = f"{mean:.2f} ± {mean - low:.2f}"
        best[mean] = printed
        metric = "Fréchet distance against held-out images, classifier features"
        row = table.loc[(metric, "Rectified flow, Euler", name)]
        assert (row["3 steps"], row["seeds"], row["own steps"]) == (printed, "2", "")
        assert printed in texts(figure)
    bold = [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold"]
    assert best[min(best)] in bold
    assert best[max(best)] not in bold


def test_table_gives_the_true_evaluations_and_the_floor(distances):
    table, figure = draw_table(distances)
    by_run = table.droplevel("metric")
    assert by_run.loc[("Rectified flow, Euler", "NFE"), "3 steps"] == "NFE 3"
    adaptive = by_run.loc["Rectified flow, RK45, adaptive steps"]["own steps"]
    assert adaptive["NFE"] == "NFE 80"
    assert adaptive["Vanilla"].endswith(" (80)")
    floor = distances[distances["process"] == "real_halves"]["value"].astype(float)
    half = (floor.mean() - stats.ttest_1samp(floor, 0).confidence_interval(0.95).low).item()
    assert f"{floor.mean():.2f} ± {half:.2f}" in texts(figure)


def test_table_has_no_spread_with_one_seed(distances):
    table, _ = draw_table(distances[distances["seed"] == 0])
    assert not table.apply(lambda column: column.str.contains("±").any()).any()


def test_any_metric_makes_a_table_and_higher_may_be_better():
    distances = make_distances(metric="recall")
    table, figure = draw_table(distances, "recall")
    (name,) = set(table.index.get_level_values("metric"))
    assert name == "Recall against held-out images, classifier features"
    assert "Higher is better" in " ".join(texts(figure).split())
    means = summarise(distances).dropna(subset=["run", "steps"])["mean"]
    bold = [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold"]
    assert any(text.startswith(f"{means.max():.2f} ") for text in bold)
    assert not any(text.startswith(f"{means.min():.2f} ") for text in bold)
    with pytest.raises(InputError, match=r"expected precision .* found \['recall'\]"):
        draw_table(distances, "precision")


def test_what_is_unequal_is_said(distances):
    unequal = distances.assign(unequal="recipe, sampling")
    for figure in (draw_table(unequal)[1], distance_curves(unequal, "digits", "held_out")):
        assert "uns differ in recipe, sampling" in " ".join(texts(figure).split())


def test_curves_start_at_the_first_snapshot_and_show_means_and_ranges(distances):
    figure = distance_curves(distances, "digits", "held_out")
    by_images, by_time = figure.axes  # RK45 is measured once, so it has no curve
    vanilla, matched, floor = by_images.lines
    euler = distances[(distances["sampler"] == "euler") & (distances["image_set"] == 0)]
    for line, match_size in ((vanilla, 0), (matched, 100)):
        values = euler[euler["match_size"] == match_size].pivot(
            index="images_seen", columns="seed", values="value"
        )
        assert line.get_xdata().tolist() == SNAPSHOTS
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1).astype(float))
    bands = [c for c in by_images.collections if isinstance(c, FillBetweenPolyCollection)]
    assert len(bands) == 2
    halves = distances[distances["process"] == "real_halves"]["value"]
    np.testing.assert_allclose(floor.get_ydata(), halves.mean())
    assert by_images.get_yscale() == "log"
    assert "rectified flow 2" in texts(figure)
    # Against time the same values stand at the mean time of each snapshot.
    assert by_time.lines[0].get_xdata() == pytest.approx([10.5, 20.5, 40.5])
    assert by_time.lines[0].get_ydata() == pytest.approx(vanilla.get_ydata())
    assert by_time.get_xlabel() == "Training time (s)"


def test_the_table_of_long_sampling_fits_a_page():
    distances = make_distances()
    euler = distances[distances["sampler"] == "euler"]
    more = [euler.assign(steps=steps) for steps in (4, 5, 10, 20, 50, 100)]
    table, figure = draw_table(pd.concat([distances, *more]))
    assert [name for name in table if name.endswith("steps")][-2:] == ["100 steps", "own steps"]
    assert figure.get_size_inches()[0] < 8.6  # at the width of text, letters keep 6 points


@pytest.mark.parametrize(("extractor", "is_fid"), [("classifier", 0), ("inception_clean", 1)])
def test_only_inception_features_are_called_fid(extractor, is_fid):
    distances = make_distances(extractor)
    for figure in (draw_table(distances)[1], distance_curves(distances, "digits", "held_out")):
        assert ("FID" in texts(figure)) == is_fid
        assert extractor in texts(figure)


def test_save_figure_writes_the_same_bytes_twice(tmp_path: Path, distances):
    for name in ("a", "b.c"):
        save_figure(distance_curves(distances, "digits", "held_out"), tmp_path / name)
    for suffix in (".pdf", ".png"):
        content = (tmp_path / f"a{suffix}").read_bytes()
        assert content == (tmp_path / f"b.c{suffix}").read_bytes()
        assert len(content) > 1000
