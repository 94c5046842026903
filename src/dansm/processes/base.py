"""What every process offers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# A network: (points (n, ...), times (n,)) -> prediction of the points' shape.
Network = Callable[[Tensor, Tensor], Tensor]
# A vector field: (points (n, ...), one time for all) -> derivative of the points' shape.
Field = Callable[[Tensor, float], Tensor]


class Sampled(NamedTuple):
    """Samples and the number of network evaluations each of them took."""

    samples: Tensor
    nfe: int


class Process(Protocol):
    """A process owns its path between noise and data, its time distribution and its loss."""

    samplers: tuple[str, ...]

    def loss(
        self, network: Network, samples: Tensor, noise: Tensor, stream: torch.Generator
    ) -> Tensor:
        """Return the mean loss of a batch of pairs at random times.

        Parameters
        ----------
        samples, noise
            Pairs of one shape ``(n, ...)``.
        stream
            CPU generator of the times.
        """
        ...

    def squared_errors(
        self, network: Network, samples: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        """Return each pair's squared errors at a time of its own; their mean is the loss.

        Parameters
        ----------
        samples, noise
            Pairs of one shape ``(n, ...)``.
        times
            Shape ``(n,)``, as the process counts time.

        Returns
        -------
        Tensor, shape (n, ...), float32
        """
        ...

    def sample(self, network: Network, noise: Tensor, sampler: str, steps: int) -> Sampled:
        """Generate samples from noises.

        Parameters
        ----------
        noise
            Shape ``(n, ...)``.
        sampler
            One of ``samplers``.
        steps
            Nominal number of steps; ignored by adaptive samplers.
        """
        ...


class Counted:
    """A network that counts its evaluations and takes one time for the whole batch."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.calls = 0

    def __call__(self, points: Tensor, time: float) -> Tensor:
        """Evaluate the network at one time."""
        self.calls += 1
        return self._network(points, torch.full((len(points),), time, device=points.device))


def check_sampler(sampler: str, allowed: Sequence[str]) -> None:
    """Raise ``ValueError`` unless the sampler is one of those allowed."""
    if sampler not in allowed:
        raise ValueError(f"unknown sampler {sampler!r}; expected one of {list(allowed)}")
