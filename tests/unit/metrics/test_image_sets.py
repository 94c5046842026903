import pandas as pd
import pytest

from dansm.metrics.image_sets import final_distances

RUN = {
    "run": "dansm",
    "seed": 0,
    "metric": "frechet_distance",
    "feature_extractor": "e",
    "sampler": "euler",
    "images_seen": 100,
}


def table(*rows, **changes):
    columns = ["steps", "image_set", "value"]
    return pd.DataFrame([RUN | changes | dict(zip(columns, row, strict=True)) for row in rows])


def means(rows):
    return final_distances(rows).groupby(["run", "sampler", "steps"])["value"].mean()


def test_a_set_that_is_worse_everywhere_does_not_make_its_step_counts_worse():
    quality, effect = {3: 20.0, 10: 10.0, 100: 8.0}, (3.0, -2.0, -1.0)
    rows = [(n, r, quality[n] + effect[r]) for n in (3, 10) for r in range(3)]
    found = means(table(*rows, (100, 0, quality[100] + effect[0])))
    for steps, expected in quality.items():
        assert found["dansm", "euler", steps] == pytest.approx(expected)


def test_each_run_has_its_own_effects_and_means_over_all_sets_stay():
    first = table((3, 0, 5.0), (3, 1, 9.0), (50, 0, 1.0))
    second = table((3, 0, 30.0), (3, 1, 20.0), (50, 0, 11.0), run="loom")
    found = means(pd.concat([first, second]))
    assert found["dansm", "euler", 3] == 7 and found["loom", "euler", 3] == 25
    assert found["dansm", "euler", 50] == 1 + 2 and found["loom", "euler", 50] == 11 - 5


def test_the_effects_are_those_with_the_most_steps_on_all_sets():
    rows = table((3, 0, 5.0), (3, 1, 9.0), (10, 0, 4.0), (10, 1, 6.0), (100, 1, 5.0))
    assert means(rows)["dansm", "euler", 100] == 4


def test_without_steps_on_all_sets_nothing_is_corrected():
    rows = table((3, 0, 5.0), (10, 1, 4.0))
    assert final_distances(rows)["value"].tolist() == [5, 4]
