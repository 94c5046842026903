"""Figure of what matching adds to a step: medians and ranges of the rounds."""

import pandas as pd
import pytest

from dansm.figures.matching_share import share_curves
from dansm.io.tables import MATCHING_SHARE_COLUMNS


@pytest.fixture
def table():
    rows = [
        {
            "dataset": "toy",
            "process": "rectified_flow",
            "dimensions": 64,
            "batch_size": 8,
            "device": "cpu",
            "processor": "Toy 1",
            "threads": 2,
            "match_size": match_size,
            "round": k,
            "step_ms": 50.0,
            "match_ms": share * match_size / 20,
            "ahead_step_ms": 50 - share,
        }
        for match_size in (10, 1000)
        for k, share in enumerate((1.0, 2.0, 6.0))
    ]
    table = pd.DataFrame(rows).reindex(columns=list(MATCHING_SHARE_COLUMNS))
    return table.astype(MATCHING_SHARE_COLUMNS)


def test_medians_and_ranges_are_those_of_the_rounds(table):
    figure = share_curves(table, "toy")
    (axes,) = figure.axes
    inline, ahead = axes.containers
    assert inline.lines[0].get_ydata() == pytest.approx([2, 200])
    assert ahead.lines[0].get_ydata() == pytest.approx([-4, -4])
    ends = [segment[:, 1].tolist() for segment in inline.lines[2][0].get_segments()]
    assert ends == [pytest.approx([1, 6]), pytest.approx([100, 600])]
    ends = [segment[:, 1].tolist() for segment in ahead.lines[2][0].get_segments()]
    assert ends[0] == pytest.approx([-12, -2])
    assert "2 threads of Toy 1" in figure.get_suptitle()
    assert "3 rounds" in figure.get_suptitle()
