"""Couplings: which noise each training sample is paired with.

>>> import torch
>>> coupling = make_coupling("greedy", match_size=100, seed=0)
>>> coupling.match(torch.zeros(4, 1, 8, 8)).shape
torch.Size([4, 1, 8, 8])
"""

from dansm.couplings.base import Batch, Coupling, OnlineCoupling, Pairs
from dansm.couplings.greedy import Greedy
from dansm.couplings.independent import Independent

__all__ = ["Batch", "Coupling", "Greedy", "Independent", "OnlineCoupling", "Pairs"]
__all__ += ["COUPLINGS", "make_coupling"]

COUPLINGS: dict[str, type[OnlineCoupling]] = {"independent": Independent, "greedy": Greedy}


def make_coupling(name: str, *, match_size: int = 0, seed: int = 0) -> Coupling:
    """Return a new coupling by name.

    Parameters
    ----------
    name
        One of `COUPLINGS`.
    match_size
        Number of noises of a pool; 0 for ``independent``.
    seed
        Seed of the coupling's own noise streams.

    Raises
    ------
    ValueError
        If the name is unknown or the match size does not suit the coupling.
    """
    if name not in COUPLINGS:
        raise ValueError(f"unknown coupling {name!r}; expected one of {sorted(COUPLINGS)}")
    return COUPLINGS[name](match_size=match_size, seed=seed)
