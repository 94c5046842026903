"""Couplings: which noise each training sample is paired with.

Names are known without PyTorch: `COUPLINGS` is the catalogue, and what is implemented is imported
when it is asked for.

Examples
--------
>>> import torch
>>> coupling = make_coupling("greedy", match_size=100, seed=0)
>>> coupling.match(torch.zeros(4, 1, 8, 8)).shape
torch.Size([4, 1, 8, 8])
"""

from functools import partial
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from dansm.couplings.registry import COUPLINGS

if TYPE_CHECKING:
    from dansm.couplings.base import Coupling

_BASE = ("Batch", "Pairs", "Coupling", "OnlineCoupling", "FreshNoiseCoupling")
_OF_TRAINERS = ("MatchedFlowMatcher", "MatchingCollate", "match_scheduler")
_IMPLEMENTATIONS = (entry.implementation.split(":") for entry in COUPLINGS.values())
# The module of each public name, in the order of the reference's page.
_MODULES = {
    **dict.fromkeys(_BASE, "dansm.couplings.base"),
    **{attribute: module for module, attribute in _IMPLEMENTATIONS},
    **dict.fromkeys(("Potentials", "Evenness", "fit_potentials"), "dansm.couplings.potentials"),
    "PerClass": "dansm.couplings.per_class",
    **dict.fromkeys(_OF_TRAINERS, "dansm.couplings.trainers"),
}


def __getattr__(name: str) -> Any:
    if name == "__all__":  # asked for by those who take all names and look in the module's own
        globals().update({public: __getattr__(public) for public in _MODULES})
        return ["make_coupling", "COUPLINGS", *_MODULES]
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


def make_coupling(
    name: str,
    *,
    match_size: int = 0,
    seed: int = 0,
    labels: str | None = None,
    **options: Any,
) -> "Coupling":
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
        `dansm.couplings.per_class`; all couplings but those of given pairs take it. One that has
        ``match`` is called ``match(samples, labels)`` then.
    **options
        Further arguments of the coupling's class; those that its entry's ``needs`` names describe
        the dataset.

    Raises
    ------
    ValueError
        If the name is unknown, the match size or the value of an option does not suit the
        coupling, it has no such option, or one that it needs is missing.
    """
    if name not in COUPLINGS:
        raise ValueError(f"unknown coupling {name!r}; expected one of {sorted(COUPLINGS)}")
    from dansm.couplings.base import OnlineCoupling
    from dansm.couplings.per_class import PerClass

    kind = COUPLINGS[name].load()
    arguments = signature(kind).parameters
    online = issubclass(kind, OnlineCoupling)
    if labels is not None and not online and "labels" not in arguments:
        raise ValueError(f"labels {labels!r}: {name} looks its pairs up and takes none")
    allowed = sorted(arguments.keys() - {"match_size", "seed", "labels"})
    for option in options.keys() - set(allowed):
        raise ValueError(f"{name}: unknown option {option!r}; expected one of {allowed}")
    needed = [option for option in allowed if arguments[option].default is Parameter.empty]
    missing = [option for option in needed if option not in options]
    if missing:
        raise ValueError(f"{name}: expected the options {missing} too")
    make = partial(kind, match_size, **options)
    if labels is None:
        return make(seed)
    return PerClass(make, seed, labels) if online else make(seed, labels=labels)
