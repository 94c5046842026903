import numpy as np
import pandas as pd
import pytest

from dansm.metrics.image_sets import final_values

RUN = {
    "run": "dansm",
    "seed": 0,
    "metric": "frechet_distance",
    "feature_extractor": "e",
    "reference": "training",
    "sampler": "euler",
    "images_seen": 100,
}


def table(*rows, **changes):
    columns = ["steps", "image_set", "value"]
    return pd.DataFrame([RUN | changes | dict(zip(columns, row, strict=True)) for row in rows])


def values(rows, steps, **level):
    found = final_values(rows).xs(steps, level="steps")
    for name, value in level.items():
        found = found.xs(value, level=name)
    (row,) = found.to_numpy()
    return row


def test_missing_sets_are_filled_in_as_they_differ_elsewhere():
    quality, effect = {3: 20.0, 10: 10.0, 100: 8.0}, (3.0, -2.0, -1.0)
    rows = [(n, r, quality[n] + effect[r]) for n in (3, 10) for r in range(3)]
    rows = table(*rows, (100, 0, quality[100] + effect[0]))
    for steps, expected in quality.items():
        assert values(rows, steps) == pytest.approx(expected + np.array(effect))


def test_what_is_measured_stays_and_each_run_has_its_own_effects():
    first = table((3, 0, 5.0), (3, 1, 9.0), (50, 0, 1.0))
    second = table((3, 0, 30.0), (3, 1, 20.0), (50, 0, 11.0), run="loom")
    rows = pd.concat([first, second])
    assert values(rows, 3, run="dansm").tolist() == [5, 9]
    assert values(rows, 50, run="dansm").tolist() == [1, 5]
    assert values(rows, 50, run="loom").tolist() == [11, 1]


def test_the_effects_are_those_with_the_most_steps_on_all_sets():
    rows = table((3, 0, 5.0), (3, 1, 9.0), (10, 0, 4.0), (10, 1, 6.0), (100, 1, 5.0))
    assert values(rows, 100).tolist() == [3, 5]


def test_each_reference_has_its_own_values_and_so_has_none():
    held_out = table((3, 0, 7.0), (3, 1, 9.0), (50, 1, 1.0), reference="held_out")
    scores = table((3, 0, 2.0), metric="classifier_score", reference=None)
    rows = pd.concat([table((3, 0, 5.0), (3, 1, 6.0), (50, 1, 3.0)), held_out, scores])
    assert values(rows, 50, reference="training").tolist() == [2, 3]
    assert values(rows, 50, reference="held_out").tolist() == [-1, 1]
    assert values(rows, 3, reference="")[0] == 2


def test_only_the_last_snapshot_counts_and_real_images_are_no_run():
    earlier = table((3, 0, 99.0), images_seen=50)
    real = table((None, 0, 1.0), run=None, images_seen=None)
    assert values(pd.concat([earlier, table((3, 0, 5.0)), real]), 3).tolist() == [5]


def test_without_steps_on_all_sets_nothing_is_filled_in():
    rows = table((3, 0, 5.0), (10, 1, 4.0))
    np.testing.assert_equal(final_values(rows).to_numpy(), [[5, np.nan], [np.nan, 4]])
