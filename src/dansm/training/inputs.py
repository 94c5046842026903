"""What a run's coupling is told of its dataset, and the potentials that it may need of it."""

import glob
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dansm.catalogue import COUPLINGS, Pick
from dansm.couplings import Coupling, Potentials, fit_potentials, make_coupling
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
    inputs = {name: found[name] for name in needs}
    return inputs | ({"generated": pairs.meta["count"]} if "noise" in needs else {})


def fit_dataset_potentials(
    store: Store, path: Path, *, largest_unevenness: float | None = 2.0, **options: Any
) -> None:
    """Fit potentials to a dataset, and write them if they use its samples evenly.

    Those that do not are kept beside, hidden, and taken up where more unevenness is accepted.

    Parameters
    ----------
    store
        The dataset.
    path
        The file.
    largest_unevenness
        The chi-square divergence of usage from uniform that is accepted, in multiples of what
        uniform draws show; None: any.
    **options
        Of `dansm.couplings.fit_potentials`.

    Raises
    ------
    InputError
        If usage is less even.
    """
    samples = store.batch(np.arange(len(store)))
    told = json.dumps({k: options[k] for k in options if k != "progress"}, sort_keys=True)
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    refused = path.with_name(f".{path.stem}.{digest}.refused.npz")
    try:
        fitted = Potentials.load(refused, samples, metric=options.get("metric", "euclidean"))
        print(f"fitted before: {refused}")
    except ValueError:
        fitted = fit_potentials(samples, **options)
    print(fitted.evenness)
    found, floor = fitted.evenness.chi_square, fitted.evenness.chi_square_floor
    if largest_unevenness is not None and found > largest_unevenness * floor:
        fitted.save(refused)
        raise InputError(
            f"{path}: expected samples used evenly, with a chi-square divergence up to "
            f"{largest_unevenness:g} times that of uniform draws, {floor:.3g}; found {found:.3g}: "
            "fit with more steps or a larger batch_size, or accept it by a larger "
            f"largest_unevenness, which takes up {refused} without fitting again"
        )
    fitted.save(path)
    for other in path.parent.glob(f".{glob.escape(path.stem)}.*.refused.npz"):
        other.unlink()


def make_run_coupling(pick: Pick, seed: int, inputs: dict[str, Any]) -> Coupling:
    """Return a new coupling of a pick, told what `coupling_inputs` returned."""
    options = dict(pick.options)
    if "noise" in inputs:
        # A teacher's other options say which pairs there are, not what is done with them.
        options = {key: options[key] for key in ("slerp", "annealed") if key in options}
    return make_coupling(pick.name, seed=seed, **options, **inputs)
