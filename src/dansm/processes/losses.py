"""Errors of predictions.

An entry of `dansm.processes.objective_registry.LOSSES` is a function ``(prediction, target,
**options)`` that returns errors with one row a pair, whose weighted mean is the loss, or a subclass
of `dansm.processes.objective.Objective`.
"""

from torch import Tensor

# Of improved rectified flow's constant, for each dimension (Lee et al., 2024).
HUBER_CONSTANT = 0.00054


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors, shape ``(n, ...)``, float32."""
    return (prediction.float() - target).square()


def pseudo_huber(
    prediction: Tensor, target: Tensor, c: float | None = None, elementwise: bool = False
) -> Tensor:
    """Return ``(√(‖δ‖² + c²) − c)/d`` of each pair's error δ of dimension d, shape (n,), float32.

    Parameters
    ----------
    c
        Where it turns from a squared error into an absolute one; None: 0.00054 d, improved
        rectified flow's.
    elementwise
        Of each number by itself, ``√(δ² + c²) − c``, shape (n, ...), as Rectified Diffusion's.
    """
    squares = squared_error(prediction, target)
    if elementwise:
        c = HUBER_CONSTANT if c is None else c
        return (squares + c**2).sqrt() - c
    dimension = prediction[0].numel()
    c = HUBER_CONSTANT * dimension if c is None else c
    return ((squares.flatten(1).sum(dim=1) + c**2).sqrt() - c) / dimension


def relative_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return each pair's mean squared error divided by its own value, which is held fixed.

    Every pair is worth 1, whatever its scale; only gradients tell (Kim et al., 2024, section 4).
    """
    errors = squared_error(prediction, target).flatten(1).mean(dim=1)
    return errors / errors.detach().clamp_min(1e-12)
