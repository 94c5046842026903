"""The table of claims with their verdicts."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dansm.analysis.claims import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from dansm.errors import InputError
from dansm.figures.base import against, style

# How a verdict is drawn, readable in grey by its sign and shade: text, its colour, face and edge.
_SIGNS = {
    SUPPORTED: ("✓ supported", "white", "0.25", "0.25"),
    NOT_SUPPORTED: ("✗ not supported", "black", "white", "black"),
    UNDECIDED: ("– undecided", "black", "0.88", "0.88"),
}
# Title, left edge in inches, characters to a line; the whole is as wide as a page.
_COLUMNS = [
    ("Claim", 0.0, 44),
    ("Measured by", 2.2, 38),
    ("Expected", 4.15, 12),
    ("Found", 4.72, 21),
    ("Verdict, and why", 5.85, 44),
]
_WIDTH, _LINE, _BADGE = 8.0, 0.114, 1.02


@style()
def claim_table(claims: pd.DataFrame, subject: str) -> Figure:
    """Return the claims as a drawn table: what was expected, what was found, and the verdict.

    Parameters
    ----------
    claims
        With the columns `dansm.io.tables.CLAIM_COLUMNS`.
    subject
        Of the title.

    Raises
    ------
    InputError
        If there is an unknown verdict.
    """
    unknown = sorted(set(claims["verdict"].fillna("")) - set(_SIGNS))
    if unknown:
        raise InputError(f"claims: verdict: expected one of {list(_SIGNS)}, found {unknown[0]!r}")
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    y = 0.0

    def write(column: int, text: str, below: float = 0.0, **look: Any) -> int:
        _, left, characters = _COLUMNS[column]
        lines = textwrap.wrap(text.replace(" %", "\u00a0%"), characters)
        look |= {"va": "top", "fontsize": 6.5, "linespacing": 1.25}
        axes.text(left, y + below + 0.05, "\n".join(lines), **look)
        return len(lines)

    def rule(weight: float) -> None:
        axes.plot([0, _WIDTH], [y, y], color="black", linewidth=weight)

    axes.text(0, y, f"{subject}: claims", va="top", fontsize=8, weight="bold")
    y += 0.2
    rule(1.2)
    for column, (name, *_) in enumerate(_COLUMNS):
        write(column, name, weight="bold")
    y += 0.2
    for claim in claims.itertuples():
        rule(0.4)
        lines = [
            write(0, f"{claim.claim} ({claim.source})"),
            write(1, f"{claim.measure}{against(claim.reference)}"),
            write(2, f"{'>' if claim.direction == 'above' else '<'} {claim.threshold:g}"),
            write(3, _found(claim)),
        ]
        sign, ink, face, edge = _SIGNS[claim.verdict]
        left, look = _COLUMNS[4][1], {"linewidth": 0.7, "facecolor": face, "edgecolor": edge}
        axes.add_patch(Rectangle((left, y + 0.04), _BADGE, 0.14, **look))
        look = {"ha": "center", "va": "center", "fontsize": 6.5, "weight": "bold", "color": ink}
        axes.text(left + _BADGE / 2, y + 0.11, sign, **look)
        lines.append(write(4, claim.why, below=0.17) + 1.4)
        y += _LINE * max(lines) + 0.08
    rule(1.2)
    figure.set_size_inches(_WIDTH, y + 0.05)
    axes.set(xlim=(0, _WIDTH), ylim=(y + 0.05, -0.02))
    return figure


def _found(claim: Any) -> str:
    if pd.isna(claim.value):
        return "–"
    digits = 3 if abs(claim.value) < 100 else 4
    value = f"{claim.value:.{digits}g}"
    if pd.isna(claim.low):
        return value
    alone, together = (
        f"[{low:.{digits}g},\u00a0{high:.{digits}g}]"  # not to be broken
        for low, high in (
            (claim.low, claim.high),
            (claim.corrected_low, claim.corrected_high),
        )
    )
    found = f"{value} {alone}, n\u00a0=\u00a0{claim.n}"
    return found if pd.isna(claim.corrected_low) else f"{found}; together {together}"
