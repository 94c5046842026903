"""Matching in trainers of other projects, whose loops stay as they are.

`MatchedFlowMatcher` is a flow matcher for torchcfm's loops, `match_scheduler` makes a scheduler of
diffusers add matched noise, and `MatchingCollate` matches in a PyTorch ``DataLoader``. None of them
imports those projects.
"""

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from dansm.couplings.base import Coupling, OnlineCoupling
from dansm.couplings.per_class import PerClass
from dansm.randomness import stream_seed

# Those of diffusers' schedulers that mix samples with noise: ``(samples, noise, times)`` and, of
# flow matching, ``(samples, times, noise)``.
_MIXING = {"add_noise": 1, "scale_noise": 2}


class MatchedFlowMatcher:
    """A flow matcher of torchcfm whose source samples are matched noises.

    All else is the matcher's: the path, its σ, the times. The source samples that a loop draws,
    ``x0``, are taken for standard normal ones and not looked at.

    Parameters
    ----------
    matcher
        Such as ``torchcfm.ConditionalFlowMatcher(sigma=0.0)``; one that pairs by itself, as those
        of optimal transport do, would pair anew.
    coupling
        One that has ``match``; its state belongs in the checkpoints.

    Raises
    ------
    ValueError
        If the coupling has no ``match``.
    """

    def __init__(self, matcher: Any, coupling: Coupling) -> None:
        _check_online(coupling)
        self.matcher = matcher
        self.coupling = coupling

    def __getattr__(self, name: str) -> Any:
        """Return the matcher's, whatever else is asked for."""
        if name in ("matcher", "coupling"):  # of a copy in the making
            raise AttributeError(name)
        return getattr(self.matcher, name)

    def sample_location_and_conditional_flow(
        self, x0: Tensor, x1: Tensor, *arguments: Any, **options: Any
    ) -> tuple[Tensor, ...]:
        """Return times (n,), points and velocities, both of the samples' shape.

        Parameters
        ----------
        x0
            Noise of the samples' shape, in whose place matched noise is taken.
        x1
            Samples, shape ``(n, ...)``.
        *arguments, **options
            The matcher's: times of one's own, and whether it returns the noise of its σ too.

        Raises
        ------
        ValueError
            If the two differ in shape, or the samples do not suit the coupling.
        """
        _check_shapes(x0, x1)
        noise = self.coupling.match(x1)
        return self.matcher.sample_location_and_conditional_flow(noise, x1, *arguments, **options)

    def guided_sample_location_and_conditional_flow(
        self,
        x0: Tensor,
        x1: Tensor,
        y0: Tensor | None = None,
        y1: Tensor | None = None,
        *arguments: Any,
        **options: Any,
    ) -> tuple[Any, ...]:
        """Return the same, and the labels of noises (none) and samples, as torchcfm does.

        A coupling made with ``labels`` matches within each class.
        """
        _check_shapes(x0, x1)
        within = isinstance(self.coupling, PerClass)
        noise = self.coupling.match(x1, y1) if within else self.coupling.match(x1)
        found = self.matcher.sample_location_and_conditional_flow(noise, x1, *arguments, **options)
        return (*found[:3], None, y1, *found[3:])


def match_scheduler(scheduler: Any, coupling: Coupling) -> None:
    """Make a scheduler of diffusers mix samples with matched noise, from now on, in place.

    A training script draws ``noise``, calls ``add_noise(samples, noise, timesteps)`` or
    ``scale_noise(samples, timesteps, noise)``, and computes its target from the same tensor. The
    matched noise is written into that tensor, so that the target follows. Where gradients are off,
    as while a pipeline samples, the scheduler is as before. It is saved as before, too.

    Parameters
    ----------
    scheduler
        Any that training scripts use, such as ``DDPMScheduler`` or
        ``FlowMatchEulerDiscreteScheduler``.
    coupling
        One that has ``match``; its state belongs in the checkpoints.

    Raises
    ------
    ValueError
        If the coupling has no ``match``, or the scheduler neither method.
    """
    _check_online(coupling)
    methods = {name: place for name, place in _MIXING.items() if hasattr(scheduler, name)}
    if not methods:
        raise ValueError(
            f"scheduler: expected one with {' or '.join(_MIXING)}, found {type(scheduler).__name__}"
        )

    def matched(method: Callable[..., Tensor], place: int) -> Callable[..., Tensor]:
        @wraps(method)
        def mix(*arguments: Any, **options: Any) -> Tensor:
            if torch.is_grad_enabled():
                names = ["noise", "original_samples", "sample"]
                given = {name: options[name] for name in names if name in options}
                noise = given.pop("noise") if "noise" in given else arguments[place]
                samples = next(iter(given.values())) if given else arguments[0]
                _check_shapes(noise, samples)
                noise.copy_(coupling.match(samples))
            return method(*arguments, **options)

        return mix

    for name, place in methods.items():
        setattr(scheduler, name, matched(getattr(scheduler, name), place))


class MatchingCollate:
    """A ``collate_fn`` that gives each batch its noise: the loader yields ``(batch, noise)``.

    Matching then runs in the loader's workers. Each has a coupling of its own, with a seed made of
    this one's and the worker's, which PyTorch draws anew for each epoch: no two hand out the same
    noises. Workers end with the epoch and their pools with them, unless the loader is told
    ``persistent_workers=True``. Without workers there is one coupling, `coupling`, whose state can
    be saved.

    Parameters
    ----------
    make
        Returns a coupling that has ``match`` for a ``seed``, such as
        ``functools.partial(make_coupling, "greedy", match_size=1000)``.
    seed
        Of all noises, with the seeds that the loader gives its workers; of several processes that
        train together each needs one of its own.
    samples
        Where in a batch the samples are: an index or a key. None: the batch is them.
    labels
        Where their classes are, if the coupling matches within these.
    collate
        Makes a batch of what the dataset returns.
    """

    def __init__(
        self,
        make: Callable[..., Coupling],
        seed: int = 0,
        samples: int | str | None = None,
        labels: int | str | None = None,
        collate: Callable[[list[Any]], Any] = default_collate,
    ) -> None:
        self.make, self.seed, self.collate = make, seed, collate
        self.samples, self.labels = samples, labels
        self._process: int | None = None
        self._coupling: Coupling | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a spawned worker gets: all but the coupling of this process."""
        return vars(self) | {"_process": None, "_coupling": None}

    @property
    def coupling(self) -> Coupling:
        """The coupling of this process."""
        if self._process != os.getpid():
            worker = get_worker_info()
            seed = self.seed if worker is None else stream_seed(self.seed, "worker", worker.seed)
            self._coupling = self.make(seed=seed)
            _check_online(self._coupling)
            self._process = os.getpid()
        return self._coupling

    def __call__(self, items: list[Any]) -> tuple[Any, Tensor]:
        """Return the batch of some items of the dataset, and its noise."""
        batch = self.collate(items)
        samples = batch if self.samples is None else _part(batch, self.samples)
        if self.labels is None:
            return batch, self.coupling.match(samples)
        return batch, self.coupling.match(samples, _part(batch, self.labels))


def _part(batch: Any, key: int | str) -> Tensor:
    try:
        return batch[key]
    except (LookupError, TypeError) as error:
        found = list(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise ValueError(f"batch: expected {key!r} in it, found {found}") from error


def _check_online(coupling: Coupling) -> None:
    if not isinstance(coupling, OnlineCoupling | PerClass):
        raise ValueError(
            f"{coupling.name}: expected a coupling that answers batch by batch, with match"
        )


def _check_shapes(noise: Tensor, samples: Tensor) -> None:
    if noise.shape != samples.shape:
        raise ValueError(
            f"noise: expected the samples' shape {tuple(samples.shape)}, found {tuple(noise.shape)}"
        )
