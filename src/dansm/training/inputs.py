"""What a run's coupling is told of its dataset."""

from pathlib import Path
from typing import Any

import numpy as np

from dansm.catalogue import COUPLINGS, Pick
from dansm.couplings import Coupling, Potentials, make_coupling
from dansm.data.pair_store import PairStore
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.records import is_proven


def coupling_inputs(
    pick: Pick, store: Store, potentials: Path | None = None, pairs: PairStore | None = None
) -> dict[str, Any]:
    """Return the arguments of a coupling that describe the dataset: those its entry needs.

    Parameters
    ----------
    potentials
        File of those fitted to the dataset.
    pairs
        A teacher's, in place of the dataset's samples.

    Raises
    ------
    InputError
        If potentials or pairs are needed and missing, or the potentials are not the dataset's.
    """
    needs = COUPLINGS[pick.name].needs
    given = {"potentials": potentials, "noise": pairs}
    for name in sorted(needs & given.keys()):
        if given[name] is None:
            raise InputError(f"coupling {pick.name}: expected {name}, found none")
    found: dict[str, Any] = {"count": len(store), "shape": store.array.shape[1:]}
    if "noise" in needs:
        found |= {"samples": pairs.samples, "noise": pairs.noise}
    elif "samples" in needs:
        found["samples"] = store.batch(np.arange(len(store)))
    if "potentials" in needs:
        is_proven(potentials)
        try:
            found["potentials"] = Potentials.load(potentials, found["samples"], **pick.options)
        except ValueError as error:
            raise InputError(str(error)) from error
    return {name: found[name] for name in needs}


def make_run_coupling(pick: Pick, seed: int, inputs: dict[str, Any]) -> Coupling:
    """Return a new coupling of a pick, told what `coupling_inputs` returned."""
    # A teacher's options say which pairs there are, not what is done with them.
    options = {} if "noise" in inputs else pick.options
    return make_coupling(pick.name, seed=seed, **options, **inputs)
