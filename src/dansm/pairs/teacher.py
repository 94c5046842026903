"""Pairs of a noise and the sample that a finished model, the teacher, makes of it."""

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dansm.config import RunSettings
from dansm.couplings.registry import Pick
from dansm.data.pair_store import Trajectories, write_pairs
from dansm.data.store import Store
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.io.run_folder import MODEL, costs_of
from dansm.models.trained import load_model
from dansm.processes.base import Counted
from dansm.processes.grids import sampling_times
from dansm.processes.registry import PROCESSES
from dansm.processes.samplers import Sampler
from dansm.processes.solver_registry import SOLVERS
from dansm.processes.solvers import inverse
from dansm.randomness import generator


def pair_noises(seed: int, pairs: range, shape: tuple[int, ...]) -> Tensor:
    """Return the noises of some pairs, each from a stream of its own, of no other use.

    Returns
    -------
    torch.Tensor, shape (len(pairs), *shape), float32
    """
    return torch.stack([torch.randn(shape, generator=generator(seed, "pair", k)) for k in pairs])


def make_pairs(
    settings: RunSettings,
    folder: Path,
    sampler: Pick,
    steps: int,
    count: int,
    states: int,
    work: Path,
    path: Path,
    inverted: int = 0,
    store: Store | None = None,
    batch_size: int = 256,
) -> None:
    """Write the store of pairs of a finished run, sampled from its averaged weights.

    After the generated pairs follow images of the dataset, each with the noise that leads to it.

    Pair k depends on its number and the batch size alone, not on how many there are or how often
    the job was interrupted: adaptive solvers choose their steps for a batch as a whole, so that
    pair k is always solved with the others of batch ``k // batch_size``, which is always full.

    Parameters
    ----------
    settings, folder
        The teacher's run.
    steps
        Nominal number of steps; 0 for a solver that takes none.
    states
        How many states between noise and sample are kept, of times of the solver's grid that are
        evenly spaced on it.
    work, path
        Folders of the batches that are done, until all are, and of the store.
    inverted
        How many images.
    store
        The dataset, from which they are.

    Raises
    ------
    InputError
        If there are fewer images, or they are to be inverted by a solver without steps, or the
        teacher has no finished weights, or the solver stops at fewer times between; or see
        `write_pairs`.
    """
    solver = Sampler(settings.process, sampler)
    times = sampling_times(PROCESSES[settings.process.name], sampler, steps)
    # An adaptive solver goes from the first of its times to the last.
    parts = len(times) - 1
    if states >= parts and states:
        raise InputError(
            f"{path}: expected at most {parts - 1} states, as many as {sampler.text} passes in "
            f"{steps} steps between noise and sample, found {states}"
        )
    kept = [round(parts * k / (states + 1)) for k in range(1, states + 1)]
    # At the start of each of its steps a solver shows the network the state that it is in.
    stops = {k * SOLVERS[sampler.name].stages for k in kept}
    if inverted and (store is None or len(store) < inverted):
        found = "no dataset" if store is None else len(store)
        raise InputError(f"{path}: expected {inverted} images to invert, found {found}")
    if inverted and SOLVERS[sampler.name].adaptive:
        raise InputError(f"{path}: expected a solver with steps to invert, found {sampler.text}")
    network = load_model(folder, settings)
    device = next(network.parameters()).device

    def make(pairs: range) -> Trajectories:
        first = min(max(pairs.start, count), pairs.stop) if inverted else pairs.stop
        parts = [(generate, range(pairs.start, first)), (invert, range(first, pairs.stop))]
        found = [(make_some(some), len(some)) for make_some, some in parts if len(some)]
        mean = sum(one.nfe * number for one, number in found) / len(pairs)
        return Trajectories(torch.cat([one.points for one, _ in found]), mean)

    def invert(pairs: range) -> Trajectories:
        rows = np.arange(pairs.start, pairs.stop) - count
        samples = store.batch(rows % inverted)  # those beyond the last are dropped
        with torch.inference_mode():
            counted = Counted(lambda points, conditions: network(points, conditions).sample)
            noise = inverse(solver.process, counted, samples.to(device), times)
        points = torch.stack([noise.cpu(), samples.cpu()], dim=1)
        return Trajectories(points, counted.evaluations / len(samples))

    def generate(pairs: range) -> Trajectories:
        noise = pair_noises(settings.seed, pairs, settings.shape).to(device)
        points = [noise.cpu()]
        evaluation = itertools.count()

        def predict(shown: Tensor, conditions: Tensor) -> Tensor:
            if next(evaluation) in stops:
                points.append(shown.cpu())
            return network(shown, conditions).sample

        with torch.inference_mode():
            samples, nfe = solver.sample(predict, noise, steps)
        return Trajectories(torch.stack([*points, samples.cpu()], dim=1), nfe)

    write_pairs(
        path,
        work,
        make,
        {
            "teacher": settings.plain(),
            "run": Path(folder).parent.name,
            "model_sha256": sha256(folder / MODEL),
            "sampler": sampler.plain,
            "steps": steps,
            "count": count,
            "states": states,
            "inverted": inverted,
            **({"dataset_sha256": store.meta["sha256"]} if inverted else {}),
        },
        [float(times[k]) for k in kept],
        batch_size,
        source=f"a teacher trained on {settings.dataset}",
        licence="that of what its teacher was trained on",
        spent=costs_of(folder),
    )
