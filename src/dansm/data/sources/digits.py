"""scikit-learn's handwritten digits."""

import numpy as np

from dansm.config import DigitsSource, Shape
from dansm.data.sources.images import Images


def read(source: DigitsSource, shape: Shape, workers: int) -> Images:
    """Return the 1 797 digits; their values go to 16."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return Images(
        count=len(digits.images),
        blocks=[digits.images[:, None].astype(np.uint8)],
        description=(
            "scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits, test part"
        ),
        highest=16,
        labels=digits.target,
    )
