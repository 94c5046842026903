import math

import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.io import tables
from dansm.io.tables import (
    CLAIM_COLUMNS,
    DISTANCE_COLUMNS,
    RUN_COLUMNS,
    SPEED_COLUMNS,
    read_table,
    run_columns,
    write_table,
)

from ..factories import make_settings


def test_round_trip_keeps_values_order_and_what_is_missing(tmp_path):
    rows = [
        {"dataset": "d", "seed": seed, "match_size": 10_000, "steps": None, "value": 1 / 3}
        for seed in (1, 0)
    ]
    write_table(tmp_path / "a.csv", rows, DISTANCE_COLUMNS)
    table = read_table(tmp_path / "a.csv", DISTANCE_COLUMNS)
    assert list(table.columns) == list(DISTANCE_COLUMNS)
    assert table["seed"].tolist() == [1, 0]
    assert table["match_size"].tolist() == [10_000] * 2
    assert table["steps"].isna().all() and table["run"].isna().all()
    assert table["value"].tolist() == [1 / 3] * 2
    write_table(tmp_path / "b.csv", table, DISTANCE_COLUMNS)
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_a_table_without_rows_has_its_columns(tmp_path):
    write_table(tmp_path / "a.csv", [], DISTANCE_COLUMNS)
    assert read_table(tmp_path / "a.csv", DISTANCE_COLUMNS).empty


def test_a_run_is_described_by_its_picks():
    plain = run_columns("vanilla", make_settings(seed=3))
    assert list(plain) == list(RUN_COLUMNS)
    assert plain == {
        "dataset": "toy",
        "run": "vanilla",
        "process": "rectified_flow",
        "coupling": "independent",
        "match_size": 0,
        "options": None,
        "times": "uniform",
        "loss": "squared_error",
        "seed": 3,
    }
    greedy = run_columns("dansm", make_settings(coupling={"greedy": {"match_size": 100}}))
    assert (greedy["coupling"], greedy["match_size"], greedy["options"]) == ("greedy", 100, None)
    chosen = {"minibatch_ot": {"method": "sinkhorn", "regularisation": 0.5}}
    sinkhorn = run_columns("sinkhorn", make_settings(coupling=chosen))
    assert sinkhorn["match_size"] == 0
    assert sinkhorn["options"] == "method=sinkhorn, regularisation=0.5"


def test_a_process_keeps_its_options_in_a_table(tmp_path):
    chosen = {"diffusion": {"prediction": "velocity", "schedule": "cosine"}}
    row = run_columns("v", make_settings(process=chosen))
    write_table(tmp_path / "t.csv", [row], RUN_COLUMNS)
    found = read_table(tmp_path / "t.csv", RUN_COLUMNS)["process"].item()
    assert found == "diffusion(prediction=velocity, schedule=cosine)"


def test_columns_of_one_name_have_one_type():
    kinds = {}
    for columns in (value for name, value in vars(tables).items() if name.endswith("COLUMNS")):
        for name, kind in columns.items():
            kinds.setdefault(name, set()).add(kind)
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {
        "loss": {"string", "Float64"}
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "No columns"),
        ("dataset,worth\nd,1\n", r"\['dataset', 'worth'\]"),
        (
            ",".join(DISTANCE_COLUMNS) + "\n" + "x," * 17 + "x\n",
            "match_size|Unable|invalid|convert|parse",
        ),
    ],
)
def test_what_is_no_table_is_named(tmp_path, text, found):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"bad\.csv: expected .*found.*({found})"):
        read_table(path, DISTANCE_COLUMNS)


@pytest.mark.parametrize("column", ["process", "coupling", "metric", "feature_extractor"])
def test_names_that_the_catalogue_has_not_are_named(tmp_path, column):
    path = tmp_path / "bad.csv"
    write_table(path, [{column: "precisiom"}], DISTANCE_COLUMNS)
    with pytest.raises(InputError, match=rf"bad\.csv: {column}: expected .*found 'precisiom'"):
        read_table(path, DISTANCE_COLUMNS)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_only_ends_of_intervals_may_be_infinite(tmp_path, value):
    path = tmp_path / "t.csv"
    for columns, column in ((DISTANCE_COLUMNS, "value"), (SPEED_COLUMNS, "saving_percent")):
        write_table(path, [{column: 1.0}, {column: value}], columns)
        with pytest.raises(InputError, match=rf"t\.csv: {column}: .*, found -?inf in row 2$"):
            read_table(path, columns)
    for columns, column in ((SPEED_COLUMNS, "saving_low"), (CLAIM_COLUMNS, "corrected_high")):
        write_table(path, [{column: value}], columns)
        assert read_table(path, columns)[column].item() == value


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: expected .* found no file"):
        read_table(tmp_path / "none.csv", DISTANCE_COLUMNS)


def test_rows_may_come_as_a_frame_with_more_columns(tmp_path):
    frame = pd.DataFrame([{"value": 1.0, "seed": 2, "other": 3}])
    write_table(tmp_path / "a.csv", frame, DISTANCE_COLUMNS)
    assert read_table(tmp_path / "a.csv", DISTANCE_COLUMNS)["seed"].item() == 2
