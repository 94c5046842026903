"""Couplings: which noise each training sample is paired with.

>>> import torch
>>> coupling = make_coupling("greedy", match_size=100, seed=0)
>>> coupling.match(torch.zeros(4, 1, 8, 8)).shape
torch.Size([4, 1, 8, 8])
"""

from inspect import signature
from typing import Any

from dansm.couplings.base import Batch, Coupling, OnlineCoupling, Pairs, StatefulCoupling
from dansm.couplings.greedy import Greedy
from dansm.couplings.hungarian import Hungarian
from dansm.couplings.immiscible import Immiscible
from dansm.couplings.independent import Independent
from dansm.couplings.knn import Knn
from dansm.couplings.minibatch_ot import MinibatchOT

__all__ = ["Batch", "Coupling", "Greedy", "Hungarian", "Immiscible", "Independent", "Knn"]
__all__ += ["MinibatchOT", "OnlineCoupling", "Pairs"]
__all__ += ["COUPLINGS", "make_coupling"]

COUPLINGS: dict[str, type[StatefulCoupling]] = {
    kind.name: kind for kind in (Independent, Greedy, Hungarian, Immiscible, Knn, MinibatchOT)
}


def make_coupling(name: str, *, match_size: int = 0, seed: int = 0, **options: Any) -> Coupling:
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
    **options
        Further arguments of the coupling's class.

    Raises
    ------
    ValueError
        If the name is unknown, the match size or the value of an option does not suit the
        coupling, or it has no such option.
    """
    if name not in COUPLINGS:
        raise ValueError(f"unknown coupling {name!r}; expected one of {sorted(COUPLINGS)}")
    allowed = sorted(set(signature(COUPLINGS[name]).parameters) - {"match_size", "seed"})
    for option in options:
        if option not in allowed:
            raise ValueError(f"{name}: unknown option {option!r}; expected one of {allowed}")
    return COUPLINGS[name](match_size=match_size, seed=seed, **options)
