"""The protocol that every coupling follows."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """Training samples with whatever belongs to each of them.

    ``samples`` has shape (n, ...); each tensor in ``extras`` (labels, indices …) has n rows.
    """

    samples: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


class Pairs(NamedTuple):
    """Samples, the noise paired with each, and the samples' extras, all in the same order."""

    samples: Tensor
    noise: Tensor
    extras: Mapping[str, Tensor] = MappingProxyType({})


class Coupling(Protocol):
    """Turns a stream of batches into a stream of pairs.

    A coupling may hold batches back, reorder samples or choose them itself; training consumes the
    pairs and assumes nothing about the stream of batches. All that a coupling remembers between
    two pairs, including samples it holds back, is in its state, so that a new coupling which loads
    the state continues the stream.
    """

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield pairs, taking batches as they are needed."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the state as numbers, strings and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same kind of coupling.

        Raises
        ------
        ValueError
            If the state belongs to a coupling of another name, match size or seed.
        """
        ...


class OnlineCoupling(ABC):
    """A coupling that pairs each batch at once: subclasses choose the noise in `match`."""

    name: str

    def __init__(self, match_size: int, seed: int) -> None:
        self.match_size = match_size
        self.seed = seed

    @abstractmethod
    def match(self, samples: Tensor) -> Tensor:
        """Return the noise for each sample.

        Parameters
        ----------
        samples
            Tensor of shape ``(n, ...)``, any float dtype, any device.

        Returns
        -------
        Tensor
            Of the samples' shape, dtype and device; row i belongs to sample i.
        """

    @abstractmethod
    def progress(self) -> dict[str, Any]:
        """Return what changes while matching."""

    @abstractmethod
    def load_progress(self, progress: dict[str, Any]) -> None:
        """Take up what `progress` returned."""

    def pairs(self, batches: Iterable[Batch]) -> Iterator[Pairs]:
        """Yield each batch with its noise."""
        for batch in batches:
            yield Pairs(batch.samples, self.match(batch.samples), batch.extras)

    def state_dict(self) -> dict[str, Any]:
        """Return identity and progress."""
        return {**self._identity(), "progress": self.progress()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; see `Coupling.load_state_dict`."""
        found = {key: state.get(key) for key in self._identity()}
        if found != self._identity():
            raise ValueError(
                f"state of another coupling: expected {self._identity()}, found {found}"
            )
        self.load_progress(state["progress"])

    def _identity(self) -> dict[str, Any]:
        return {"name": self.name, "match_size": self.match_size, "seed": self.seed}


def check_samples(samples: Tensor) -> None:
    """Raise ``ValueError`` unless the samples are a non-empty batch of finite floats."""
    if samples.ndim < 2 or samples.shape[0] == 0 or not samples.is_floating_point():
        raise ValueError(
            "samples: expected a non-empty batch of shape (n, ...) of floats, "
            f"found shape {tuple(samples.shape)} of {samples.dtype}"
        )
    if not bool(samples.isfinite().all()):
        raise ValueError("samples: expected finite values, found NaN or infinity")
