"""Pairs of a noise and the sample that a finished model, the teacher, makes of it."""

import itertools
from pathlib import Path

import torch
from torch import Tensor

from dansm.config import RunSettings
from dansm.couplings.registry import Pick
from dansm.data.pair_store import Trajectories, write_pairs
from dansm.errors import InputError
from dansm.io.files import sha256
from dansm.io.run_folder import MODEL
from dansm.models.trained import load_model
from dansm.processes.grids import sampling_times
from dansm.processes.registry import PROCESSES, SOLVERS
from dansm.processes.samplers import Sampler
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
    batch_size: int = 256,
) -> None:
    """Write the store of pairs of a finished run, sampled from its averaged weights.

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

    Raises
    ------
    InputError
        If the teacher has no finished weights, or the solver stops at fewer times between; or see
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
    network = load_model(folder, settings)
    device = next(network.parameters()).device

    def make(pairs: range) -> Trajectories:
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
        },
        [float(times[k]) for k in kept],
        batch_size,
        source=f"a teacher trained on {settings.dataset}",
        licence="that of what its teacher was trained on",
    )
