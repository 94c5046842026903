"""What matching adds to a step, as shares of it."""

import pandas as pd
import pytest

from dansm.analysis.shares import matching_shares


def test_shares_are_percent_of_the_rounds_own_step():
    table = pd.DataFrame({"step_ms": [10.0, 20], "match_ms": [1.0, 1], "ahead_step_ms": [11, 19]})
    shares = matching_shares(table)
    assert shares["inline"].tolist() == pytest.approx([10, 5])
    assert shares["ahead"].tolist() == pytest.approx([10, -5])
