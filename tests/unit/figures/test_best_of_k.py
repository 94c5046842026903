"""The figure of the best of k noises: measured beside its bound, and what a similarity takes."""

import numpy as np
import pandas as pd

from dansm.figures.best_of_k import best_of_k
from dansm.io.tables import BEST_OF_K_COLUMNS


def test_lines_are_the_tables_and_the_bounds():
    rows = [
        [d, k, 0.9 * (2 * np.log(k) / d) ** 0.5, 0.01, (2 * np.log(k) / d) ** 0.5, 20]
        for d in (64, 4096)
        for k in (1, 100)
    ]
    table = pd.DataFrame(rows, columns=list(BEST_OF_K_COLUMNS)).astype(BEST_OF_K_COLUMNS)
    figure = best_of_k(table)
    left, right = figure.axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in left.lines]
    for d in (64, 4096):
        bound = (2 * np.log(100) / d) ** 0.5
        assert any(np.allclose(y, [0, 0.9 * bound]) for x, y in lines if x == [1, 100])
        assert any(np.allclose(y, [0, bound]) for x, y in lines if x == [1, 100])
    takes = {line.get_label(): line for line in right.lines}
    x, y = takes["similarity 0.1"].get_data()
    np.testing.assert_allclose(np.log(y), x * 0.1**2 / 2)
    assert x.min() == 64 and x.max() > 4000
    # No axis is wide enough for what half a similarity takes in thousands of dimensions.
    assert takes["similarity 0.5"].get_xdata().max() < 400
    heights = [line.get_ydata()[0] for line in right.lines if line.get_label().startswith("_")]
    assert heights == [100, 10_000]
