"""Couplings: which noise each training sample is paired with.

>>> import torch
>>> coupling = make_coupling("greedy", match_size=100, seed=0)
>>> coupling.match(torch.zeros(4, 1, 8, 8)).shape
torch.Size([4, 1, 8, 8])
"""

from functools import partial
from inspect import signature
from typing import Any

from dansm.couplings.base import (
    Batch,
    Coupling,
    FreshNoiseCoupling,
    OnlineCoupling,
    Pairs,
    StatefulCoupling,
)
from dansm.couplings.greedy import Greedy
from dansm.couplings.hungarian import Hungarian
from dansm.couplings.immiscible import Immiscible
from dansm.couplings.independent import Independent
from dansm.couplings.knn import Knn
from dansm.couplings.loom import Loom
from dansm.couplings.minibatch_ot import MinibatchOT
from dansm.couplings.paired import Paired
from dansm.couplings.per_class import PerClass
from dansm.couplings.potentials import Evenness, Potentials, fit_potentials
from dansm.couplings.semidiscrete import Semidiscrete

# In the order of the reference's page.
__all__ = [  # noqa: RUF022
    "make_coupling",
    "COUPLINGS",
    "Batch",
    "Pairs",
    "Coupling",
    "StatefulCoupling",
    "OnlineCoupling",
    "FreshNoiseCoupling",
    "Independent",
    "Greedy",
    "Hungarian",
    "Immiscible",
    "MinibatchOT",
    "Knn",
    "Semidiscrete",
    "Potentials",
    "Evenness",
    "fit_potentials",
    "Loom",
    "Paired",
    "PerClass",
]

_KINDS = (Independent, Greedy, Hungarian, Immiscible, Knn, MinibatchOT, Semidiscrete, Loom, Paired)
COUPLINGS: dict[str, type[StatefulCoupling]] = {kind.name: kind for kind in _KINDS}
"""The class of every coupling, by the name that `make_coupling` and the configuration use."""


def make_coupling(
    name: str,
    *,
    match_size: int = 0,
    seed: int = 0,
    labels: str | None = None,
    **options: Any,
) -> Coupling:
    """Return a new coupling by name.

    Parameters
    ----------
    name
        One of `COUPLINGS`.
    match_size
        Number of noises of a pool (``greedy``), of a set (``hungarian``) or of a sample (``knn``);
        0 for the others.
    seed
        Seed of the coupling's own noise streams.
    labels
        Name of the extra that holds the class of each sample, integers of shape (n,), if noise is
        to be matched only within a class. A class-conditional model needs that, see
        `dansm.couplings.per_class`; every coupling but ``paired`` takes it. One that has ``match``
        is called ``match(samples, labels)`` then.
    **options
        Further arguments of the coupling's class; ``semidiscrete``, ``loom`` and ``paired`` need
        to know their dataset by them.

    Raises
    ------
    ValueError
        If the name is unknown, the match size or the value of an option does not suit the
        coupling, it has no such option, or one that it needs is missing.
    """
    if name not in COUPLINGS:
        raise ValueError(f"unknown coupling {name!r}; expected one of {sorted(COUPLINGS)}")
    kind = COUPLINGS[name]
    arguments = signature(kind).parameters
    online = issubclass(kind, OnlineCoupling)
    if labels is not None and not online and "labels" not in arguments:
        raise ValueError(f"labels {labels!r}: {name} looks its pairs up and takes none")
    allowed = {
        option: argument
        for option, argument in arguments.items()
        if option not in ("match_size", "seed", "labels")
    }
    for option in options:
        if option not in allowed:
            raise ValueError(
                f"{name}: unknown option {option!r}; expected one of {sorted(allowed)}"
            )
    missing = sorted(a.name for a in allowed.values() if a.default is a.empty)
    missing = [option for option in missing if option not in options]
    if missing:
        raise ValueError(f"{name}: expected the options {missing} too")
    make = partial(kind, match_size, **options)
    if labels is None:
        return make(seed)
    return PerClass(make, seed, labels) if online else make(seed, labels=labels)
