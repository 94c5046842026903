"""What stages cost."""

from dansm.analysis.costs import measure_costs
from dansm.io.files import read_json, write_json
from dansm.io.tables import COST_COLUMNS, read_table

from ..factories import make_settings, write_run


def test_each_stage_has_its_row(tmp_path):
    settings = make_settings()
    plain = write_run(tmp_path / "plain", "vanilla", settings)
    student = write_run(tmp_path / "student", "reflow", settings)
    spent = {"vanilla": 96.0, "pairs vanilla heun-10-8": 160.0, "reflow": 48.0}
    write_json(student / "run.json", read_json(student / "run.json") | {"spent": spent})
    measure_costs([plain, student], tmp_path / "costs.csv")
    table = read_table(tmp_path / "costs.csv", COST_COLUMNS)
    # A run that does not say it: three evaluations an image.
    images = settings.steps * settings.batch_size
    assert table[table["run"] == "vanilla"]["evaluations"].tolist() == [3 * images]
    of_student = table[table["run"] == "reflow"]
    assert dict(zip(of_student["stage"], of_student["evaluations"], strict=True)) == spent
