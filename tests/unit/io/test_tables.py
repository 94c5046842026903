import pandas as pd
import pytest

from dansm.errors import InputError
from dansm.io.tables import COLUMNS, collect_tables, read_table, write_table


def rows(**values):
    return pd.DataFrame([{"dataset": "d", "metric": "frechet_distance", "value": 1.5} | values])


def test_round_trip_keeps_values_and_what_is_missing(tmp_path):
    write_table(tmp_path / "a.csv", rows(match_size=10_000, steps=None))
    table = read_table(tmp_path / "a.csv")
    assert list(table.columns) == list(COLUMNS)
    assert table["match_size"].item() == 10_000
    assert table["steps"].isna().all()
    assert table["value"].item() == 1.5


def test_the_order_of_parts_does_not_matter(tmp_path):
    write_table(tmp_path / "a.csv", rows(seed=1))
    write_table(tmp_path / "b.csv", rows(seed=0))
    collect_tables([tmp_path / "a.csv", tmp_path / "b.csv"], "e", tmp_path / "ab.csv")
    collect_tables([tmp_path / "b.csv", tmp_path / "a.csv"], "e", tmp_path / "ba.csv")
    assert (tmp_path / "ab.csv").read_bytes() == (tmp_path / "ba.csv").read_bytes()
    table = read_table(tmp_path / "ab.csv")
    assert table["seed"].tolist() == [0, 1]
    assert table["dataset"].tolist() == ["e", "e"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "No columns"),
        ("dataset,worth\nd,1\n", r"\['dataset', 'worth'\]"),
        (",".join(COLUMNS) + "\n" + "x," * 13 + "x\n", "match_size|Unable|invalid|convert|parse"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, text, found):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"bad\.csv: expected .*found.*({found})"):
        read_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: expected .* found no file"):
        read_table(tmp_path / "none.csv")
