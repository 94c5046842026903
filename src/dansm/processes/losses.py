"""Errors of predictions.

An entry of `dansm.processes.registry.LOSSES` is a function ``(prediction, target, **options)`` that
returns errors with one row a pair, whose weighted mean is the loss, or a subclass of
`dansm.processes.objective.Objective`.
"""

from torch import Tensor


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors, shape ``(n, ...)``, float32."""
    return (prediction.float() - target).square()
