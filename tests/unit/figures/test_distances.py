"""Distances: the numbers drawn are those of the file, and the titles say what they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from scipy import stats

from dansm.errors import InputError
from dansm.figures import distance_curves, distance_table, read_distances, save_figure
from dansm.io.tables import COLUMNS, write_table

SNAPSHOTS = [100, 200, 400]


def make_distances(extractor: str = "digit_classifier") -> pd.DataFrame:
    """Two seeds, two match sizes; 3 steps at all snapshots, RK45 and 3 seed ranges at the last."""
    rng = np.random.default_rng(0)
    shared = {
        "dataset": "digits",
        "metric": "frechet_distance",
        "feature_extractor": extractor,
        "n_samples": 50,
    }
    rows = []
    for match_size in (0, 100):
        for seed in (0, 1):
            run = shared | {
                "process": "rectified_flow",
                "coupling": "greedy" if match_size else "independent",
                "match_size": match_size,
                "seed": seed,
            }
            for images in SNAPSHOTS:
                for seed_range in range(3 if images == SNAPSHOTS[-1] else 1):
                    at = run | {"images_seen": images, "seed_range": seed_range}
                    euler = {"sampler": "euler", "steps": 3, "nfe": 3.0}
                    rows.append(at | euler | {"value": rng.uniform(1, 9)})
                    if images == SNAPSHOTS[-1]:
                        rk45 = {"sampler": "rk45", "steps": None, "nfe": 80.0 + seed}
                        rows.append(at | rk45 | {"value": rng.uniform(1, 9)})
    for split in range(5):
        rows.append(
            shared | {"process": "real_halves", "seed_range": split, "value": rng.uniform(0.1, 1)}
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


@pytest.fixture
def distances() -> pd.DataFrame:
    return make_distances()


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text")))


def test_table_holds_the_mean_over_seeds_of_the_mean_over_seed_ranges(distances):
    table, figure = distance_table(distances)
    best = {}
    for match_size, name in ((0, "Vanilla"), (100, "Match size 100")):
        means = [
            np.mean(
                [
                    row.value
                    for row in distances.dropna(subset=["steps"]).itertuples()
                    if (row.match_size, row.seed, row.images_seen) == (match_size, seed, 400)
                ]
            )
            for seed in (0, 1)
        ]
        # Student's t for one degree of freedom is 12.706.
        half = 12.706 * abs(means[0] - means[1]) / 2
        printed = f"{np.mean(means):.2f} ± {half:.2f}"
        best[np.mean(means)] = printed
        metric = "Fréchet distance, digit_classifier features"
        row = table.loc[(metric, "Rectified flow, Euler", name)]
        assert (row["3 steps"], row["seeds"], row["adaptive"]) == (printed, "2", "")
        assert printed in texts(figure)
    bold = [t.get_text() for t in figure.axes[0].texts if t.get_weight() == "bold"]
    assert best[min(best)] in bold
    assert best[max(best)] not in bold


def test_table_gives_the_true_evaluations_and_the_floor(distances):
    table, figure = distance_table(distances)
    by_method = table.droplevel("metric")
    assert by_method.loc[("Rectified flow, Euler", "NFE"), "3 steps"] == "NFE 3"
    adaptive = by_method.loc["Rectified flow, RK45, adaptive steps"]["adaptive"]
    assert adaptive["NFE"] == "NFE 80–81"
    assert adaptive["Vanilla"].endswith(" (80–81)")
    floor = distances[distances["process"] == "real_halves"]["value"].astype(float)
    half = (floor.mean() - stats.ttest_1samp(floor, 0).confidence_interval(0.95).low).item()
    assert f"{floor.mean():.2f} ± {half:.2f}" in texts(figure)


def test_table_has_no_spread_with_one_seed(distances):
    table, _ = distance_table(distances[distances["seed"] == 0])
    assert (
        not table.drop(columns="not sampled", errors="ignore")
        .apply(lambda column: column.str.contains("±").any())
        .any()
    )


def test_curves_start_at_the_first_snapshot_and_show_means_and_ranges(distances):
    figure = distance_curves(distances)
    (axes,) = figure.axes  # RK45 is measured once, so it has no curve
    vanilla, matched, floor = axes.lines
    euler = distances[(distances["sampler"] == "euler") & (distances["seed_range"] == 0)]
    for line, match_size in ((vanilla, 0), (matched, 100)):
        values = euler[euler["match_size"] == match_size].pivot(
            index="images_seen", columns="seed", values="value"
        )
        assert line.get_xdata().tolist() == SNAPSHOTS
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=1).astype(float))
    bands = [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]
    assert len(bands) == 2
    halves = distances[distances["process"] == "real_halves"]["value"]
    np.testing.assert_allclose(floor.get_ydata(), halves.mean())
    assert axes.get_yscale() == "log"
    assert "rectified flow 2" in texts(figure)


def test_curves_against_time_are_at_the_mean_time_of_each_snapshot(distances):
    times = distances.assign(seconds=distances["images_seen"] / 10 + distances["seed"])
    figure = distance_curves(distances, times.dropna(subset=["images_seen"]))
    vanilla, _, floor = figure.axes[0].lines
    assert vanilla.get_xdata() == pytest.approx([10.5, 20.5, 40.5])
    by_images = distance_curves(distances).axes[0].lines
    assert vanilla.get_ydata() == pytest.approx(by_images[0].get_ydata())
    assert floor.get_ydata() == pytest.approx(by_images[2].get_ydata())
    assert figure.axes[0].get_xlabel() == "Training time (s)"


def test_the_table_of_long_sampling_fits_a_page():
    distances = make_distances()
    euler = distances[distances["sampler"] == "euler"]
    more = [euler.assign(steps=steps) for steps in (4, 5, 10, 20, 50, 100)]
    table, figure = distance_table(pd.concat([distances, *more]))
    assert [name for name in table if name.endswith("steps")][-1] == "100 steps"
    assert figure.get_size_inches()[0] < 8.5  # at the width of text, letters keep 6 points


@pytest.mark.parametrize(("extractor", "is_fid"), [("digit_classifier", 0), ("inception_clean", 1)])
def test_only_inception_features_are_called_fid(extractor, is_fid):
    distances = make_distances(extractor)
    for figure in (distance_table(distances)[1], distance_curves(distances)):
        assert ("FID" in texts(figure)) == is_fid
        assert extractor in texts(figure)


def test_read_distances_names_file_expected_and_found(tmp_path, distances):
    path = tmp_path / "distances.csv"
    with pytest.raises(InputError, match=r"distances\.csv.*found no file"):
        read_distances(path, "digits")
    path.write_text("")
    with pytest.raises(InputError, match=r"distances\.csv"):
        read_distances(path, "digits")
    path.write_text("dataset,worth\n")
    with pytest.raises(InputError, match=r"distances\.csv.*value.*worth"):
        read_distances(path, "digits")
    write_table(path, distances)
    with pytest.raises(InputError, match=r"'cifar10', found those of \['digits'\]"):
        read_distances(path, "cifar10")
    assert len(read_distances(path, "digits")) == len(distances)


def test_save_figure_writes_the_same_bytes_twice(tmp_path: Path, distances):
    for name in ("a", "b.c"):
        save_figure(distance_curves(distances), tmp_path / name)
    for suffix in (".pdf", ".png"):
        content = (tmp_path / f"a{suffix}").read_bytes()
        assert content == (tmp_path / f"b.c{suffix}").read_bytes()
        assert len(content) > 1000
