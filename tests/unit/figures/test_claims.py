"""The drawn table of claims: every claim with its numbers, verdict and reason."""

from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from dansm.figures.claims import claim_table
from dansm.io.tables import CLAIM_COLUMNS


@pytest.fixture
def claims():
    shared = {"dataset": "toy", "source": "ours", "measure": "a share", "direction": "below"}
    rows = [
        {"claim": "First", "threshold": 5, "value": 2.125, "low": 1.5, "high": 2.75, "n": 3}
        | {"corrected_low": 1.25, "corrected_high": 3}
        | {"verdict": "supported", "why": "all below"},
        {"claim": "Second", "threshold": 0.5, "value": 8, "low": 7, "high": 9, "n": 4}
        | {"corrected_low": 6, "corrected_high": 10}
        | {"verdict": "not supported", "why": "all above"},
        {"claim": "Third", "threshold": 1, "verdict": "undecided", "why": "nothing there"},
    ]
    table = pd.DataFrame([shared | row for row in rows]).reindex(columns=list(CLAIM_COLUMNS))
    return table.astype(CLAIM_COLUMNS)


def test_each_claim_has_its_numbers_verdict_and_reason(claims):
    figure = claim_table(claims, "toy")
    texts = [" ".join(text.get_text().split()) for text in figure.axes[0].texts]
    assert texts[0] == "toy: claims"
    first, second, third = (texts.index(f"{name} (ours)") for name in ("First", "Second", "Third"))
    assert texts[first:second] == [
        "First (ours)",
        "a share",
        "< 5",
        "2.12 [1.5, 2.75], n = 3; together [1.25, 3]",
        "✓ supported",
        "all below",
    ]
    assert texts[second + 3 : third] == [
        "8 [7, 9], n = 4; together [6, 10]",
        "✗ not supported",
        "all above",
    ]
    assert texts[third + 3 :] == ["–", "– undecided", "nothing there"]


def test_verdicts_differ_in_grey(claims):
    patches = claim_table(claims, "toy").axes[0].patches
    looks = {(patch.get_facecolor(), patch.get_edgecolor()) for patch in patches}
    assert len(looks) == 3
    assert all(len(set(colour[:3])) == 1 for look in looks for colour in look)  # greys


def test_no_text_runs_into_another_row(claims):
    long = claims.assign(claim="A long claim " * 20)
    figure = claim_table(long, "toy")
    axes, renderer = figure.axes[0], FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts if "long" in text.get_text()]
    for upper, lower in pairwise(boxes):
        assert upper.y0 > lower.y1
