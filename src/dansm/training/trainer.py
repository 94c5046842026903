"""Training: one run from its settings to its snapshots, resumable at any moment.

A run's folder holds, when it is finished, ``model.safetensors`` (the EMA weights),
``snapshots/``, ``stats.jsonl`` and ``run.json``. While it runs, everything is in the subfolder
``training/``, which the workflow does not manage, so that an interruption loses nothing: the same
call continues from ``training/state.pt`` and ends with the same weights, on the CPU bit for bit.
SIGTERM, which schedulers send before they kill, saves the state at once. Two jobs never train one
run at once: the second finds the first's lock and fails.

With several processes (torchrun, Slurm) each takes its share of every batch and has a pool of its
own, so match size counts the noises of one process.
"""

import json
import math
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from accelerate.utils import broadcast_object_list, gather_object
from tqdm import tqdm

from dansm.catalogue import COUPLINGS
from dansm.config import RunSettings
from dansm.couplings import Coupling, Pairs
from dansm.data.pair_store import PairStore, open_pairs
from dansm.data.store import Store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.geometry import path_length
from dansm.io.files import locked, publish, read_json, sha256, write_json, write_text
from dansm.io.load import OthersLoad
from dansm.io.provenance import provenance
from dansm.io.records import is_proven
from dansm.io.run_folder import MODEL, RUN, SNAPSHOTS, STATE, STATS, TRAINING, costs_of
from dansm.models.diffusers_folder import load_model_folder
from dansm.models.networks import make_network, tune_network
from dansm.models.trained import load_guide, network_description, snapshot_description
from dansm.models.weights import load_weights, save_weights
from dansm.processes.base import Network
from dansm.processes.objective import make_objective
from dansm.randomness import generator, stream_seed
from dansm.training.averaging import ExponentialMovingAverage
from dansm.training.batches import ShuffledBatches
from dansm.training.inputs import coupling_inputs, make_run_coupling
from dansm.training.prefetching import Prefetcher
from dansm.training.state import RollingState
from dansm.training.statistics import RecentSteps
from dansm.training.stopping import stop_requests
from dansm.training.tracking import Tracker, begin_tracker, check_installed

_EARLIER = "earlier"  # what the run was finished with by other settings, while these are trained
_TICKS = 100  # lines of stats.jsonl in a whole run, about
_AGREEING_STEPS = 10  # between two times that several processes ask each other whether to stop


class Trainer:
    """One training run; `train` is the usual way to use it.

    Parameters
    ----------
    settings
        The resolved run.
    store
        The dataset; its shape must be the settings'.
    folder
        Folder of the run, ``…/RUN/seedSEED``.
    potentials
        File of the dataset's fitted potentials, for a coupling that needs them.
    pairs
        Folder of the teacher's pairs, for a coupling that needs them. They are then what is
        trained on.
    start
        Weights of the run that ``settings.start`` names.
    guide
        Weights of the run that ``settings.loss`` names as its teacher.
    state_seconds
        Least time between two saves of the rolling state; it grows where saving is slow.
    trackers
        accelerate's names of those that are told of the progress. They are no part of the run.

    Raises
    ------
    InputError
        If the settings and what is given do not go together, or precision or a tracker is not
        available.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        folder: Path,
        potentials: Path | None = None,
        pairs: Path | None = None,
        start: Path | None = None,
        guide: Path | None = None,
        state_seconds: float = 5.0,
        trackers: Sequence[str] = ("tensorboard",),
    ) -> None:
        self.settings = settings
        self.folder = Path(folder)
        self.work = self.folder / TRAINING
        self.title = "/".join(self.folder.parts[-3:])
        check_installed(trackers)
        teacher_pairs = _open_pairs(settings, pairs)
        _check_samples(settings, store)
        told = [Tracker(name, partial(self._begin_tracker, name)) for name in trackers]
        self.accelerator = _accelerator(settings.mixed_precision, told)
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        # Beside the settings, what the run is: checksums of what it was given.
        self.origins = {"dataset_sha256": store.meta["sha256"]}
        self.spent: dict[str, float] = {}  # evaluations of networks before, by what took them
        network = make_network(settings.network, settings.shape, settings.seed)
        if (start is None) != (settings.start is None):
            raise InputError(f"start: expected weights of {settings.start}, found {start}")
        if start is not None:
            if isinstance(settings.start, str):
                is_proven(start)
                load_weights(start, network, network_description(settings))
            else:
                load_model_folder(start.parent, network, settings.network, settings.shape)
            self.origins["start_sha256"] = sha256(start)
            self.spent |= costs_of(start.parent)
        if teacher_pairs is not None:
            self.origins["pairs_sha256"] = teacher_pairs.sha256
            self.spent |= teacher_pairs.meta["spent"]
        tune_network(network, channels_last=settings.channels_last, compiled=settings.compile)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.ema = ExponentialMovingAverage(self.bare_network.parameters(), settings.ema_decay)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(settings.seed, "objective"))
            self.objective = make_objective(
                settings.process,
                settings.times,
                settings.loss,
                channels=settings.shape[0],
                guide=self._guide(guide),
                last_layer=self.bare_network.conv_out.weight,
                images=partial(_images, store),
            )
        for parts in (self.objective.modules, self.objective.optimizers):
            for name in parts:
                parts[name] = self.accelerator.prepare(parts[name])
        inputs = coupling_inputs(settings.coupling, store, potentials, teacher_pairs)
        if potentials is not None and "potentials" in inputs:
            self.origins["potentials_sha256"] = sha256(potentials)
            # Samples are compared with noises on the device.
            inputs["samples"] = inputs["samples"].to(self.device)
        self.coupling: Coupling = make_run_coupling(
            settings.coupling, stream_seed(settings.seed, "coupling", rank), inputs
        )
        # Noises of pairs are looked up by their coupling.
        source = store if teacher_pairs is None else teacher_pairs
        self.batches = ShuffledBatches(source, settings, rank, ranks)
        self.batches.device = self.device
        self.state = RollingState(self.work / STATE, state_seconds)
        self.ahead: list[Pairs] = []  # made before the state was saved, not trained on yet
        self.recent = RecentSteps()
        self.step = 0
        self.stats: list[dict[str, float]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.seconds = 0.0
        self.tracking_key = uuid.uuid4().hex

    def _begin_tracker(self, name: str) -> GeneralTracker:
        settings = self.settings.plain()
        return begin_tracker(
            name, self.work, self.title, settings, self.images_seen, self.tracking_key
        )

    def _guide(self, path: Path | None) -> Network | None:
        """Return the network that guides, as it was trained, if there is one."""
        if path is None:
            return None
        network, _settings = load_guide(path, self.settings)
        self.origins["guide_sha256"] = sha256(path)
        self.spent |= costs_of(path.parent)
        network.to(self.device)
        return lambda points, conditions: network(points, conditions).sample

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        return self.accelerator.device

    @property
    def bare_network(self) -> torch.nn.Module:
        """The network without accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.network)

    @property
    def images_seen(self) -> int:
        """Training images seen so far, by all processes together."""
        return self.step * self.settings.batch_size

    @property
    def evaluations(self) -> float:
        """What the training so far took, in evaluations of the network for one sample."""
        return self.objective.evaluations * self.images_seen

    @property
    def identity(self) -> str:
        """What a state must agree on to be continued."""
        identity = {
            "settings": self.settings.canonical_json(),
            "processes": self.accelerator.num_processes,
            "mixed_precision": self.accelerator.mixed_precision,
        }
        return json.dumps(identity | self.origins)

    def run(self) -> None:
        """Train from the last state to the end, and write the run's results.

        Raises
        ------
        InputError
            If another job is training this run.
        TrainingError
            If a loss or gradient is not finite; the last good state is kept.
        InterruptedTraining
            If SIGTERM asks it to stop; the state is saved.
        """
        with ExitStack() as stack:
            if self.accelerator.is_main_process:  # of several, it locks the folder for all
                stack.enter_context(locked(self.state.path, wait=False))
            self._run(stack.enter_context(stop_requests()))

    def _run(self, requests: list[int]) -> None:
        settings = self.settings
        if self.publish_again():
            return
        self.resume()
        schedule = set(settings.snapshot_steps())
        tick_every = max(1, settings.steps // _TICKS)
        self.accelerator.init_trackers(self.title)
        if self.accelerator.is_main_process:
            for stale in self.folder.rglob(".*.partial*"):  # cut short by a kill
                stale.unlink()
            # A line for each tick, to be watched; what came after the state is written again.
            (self.work / STATS).write_text(_json_lines(self.stats))
        progress = tqdm(
            total=settings.steps * settings.batch_size,
            initial=self.images_seen,
            unit="images",
            desc=self.title,
            mininterval=1,
            disable=not self.accelerator.is_main_process,
        )
        started = time.perf_counter() - self.seconds
        self.load = OthersLoad(parent=self.accelerator.num_processes > 1)
        before = self.stats[-1].get("busy_others", math.nan) if self.stats else 0.0
        self.others = before * self.seconds
        pairs = self.coupling.pairs(self.batches)
        with Prefetcher(pairs, self.device, self.ahead) as prefetcher:
            while self.step < settings.steps:
                before = time.perf_counter()
                pair, seconds = next(prefetcher)
                self.recent.waiting_seconds += time.perf_counter() - before
                self.recent.pairing_seconds += seconds
                self.advance(pair)
                progress.update(settings.batch_size)
                snapshot = self.step in schedule
                if snapshot or self.step % tick_every == 0:
                    self.seconds = time.perf_counter() - started
                    self.tick(pair)
                    if snapshot:
                        self.take_snapshot()
                    # The main process decides for all whether it is time to save.
                    if self.step < settings.steps and broadcast_object_list([self.state.due])[0]:
                        with prefetcher.paused() as ahead:
                            self.save_state(ahead)
                if self.step < settings.steps and self.stop_requested(bool(requests)):
                    self.seconds = time.perf_counter() - started
                    self.check_finite()
                    with prefetcher.paused() as ahead:
                        self.save_state(ahead)
                    self.accelerator.wait_for_everyone()  # one that left would end the others
                    self.accelerator.end_training()
                    raise InterruptedTraining(
                        f"{self.folder}: stopped by request after {self.images_seen} images; "
                        f"the state is saved in {self.state.path}"
                    )
        progress.close()
        if self.accelerator.is_main_process:
            self.publish()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def advance(self, pair: Pairs) -> None:
        """Take one optimiser step on a batch of pairs."""
        settings = self.settings
        if settings.network.dropout > 0 or self.objective.modules:
            # Dropout knows only torch's global generator, so every step gives it a seed.
            torch.manual_seed(
                stream_seed(settings.seed, "dropout", self.step, self.accelerator.process_index)
            )
        times = generator(settings.seed, "times", self.step, self.accelerator.process_index)
        loss = self.objective.loss(
            lambda points, t: self.network(points, t).sample, pair.samples, pair.noise, times
        )
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.bare_network.parameters())
        self.objective.step(self.accelerator.backward)
        self.step += 1
        self.recent.losses.append(loss.detach())
        self.recent.gradient_norms.append(torch.as_tensor(norm).detach())

    def stop_requested(self, here: bool) -> bool:
        """Tell whether any process was asked to stop; all hear of it at the same step."""
        if self.accelerator.num_processes == 1:
            return here
        if self.step % _AGREEING_STEPS:
            return False
        if here:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def check_finite(self) -> tuple[list[float], list[float]]:
        """Return losses and gradient norms of the recent steps.

        Raises
        ------
        TrainingError
            If one is not finite.
        """
        losses, norms = self.recent.values()
        for k, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not (abs(loss) < float("inf") and abs(norm) < float("inf")):
                step = self.step - len(losses) + k + 1
                kept = "no state had been saved yet"
                if self.state.path.exists():
                    kept = f"the last good state is kept in {self.state.path}"
                raise TrainingError(
                    f"{self.folder}: at step {step} ({step * self.settings.batch_size} images) "
                    f"the loss is {loss} and the gradient norm {norm}, expected finite; {kept}"
                )
        return losses, norms

    def tick(self, pair: Pairs) -> None:
        """Check that all is finite and, on the main process, add a line of statistics."""
        losses, norms = self.check_finite()
        random_noise = torch.randn(
            pair.samples.shape, generator=generator(self.settings.seed, "stats", self.step)
        ).to(pair.samples)
        line = {
            "images_seen": self.images_seen,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "path_length_random": path_length(pair.samples, random_noise).mean().item(),
            "path_length_matched": path_length(pair.samples, pair.noise).mean().item(),
            **self.recent.speeds(self.settings.batch_size),
            "seconds": self.seconds,
            # Cores that other processes have kept busy since the start, on average.
            "busy_others": (self.others + self.load.core_seconds()) / self.seconds,
        }
        self.recent = RecentSteps()
        self.stats.append(line)
        if self.accelerator.is_main_process:
            with open(self.work / STATS, "a", encoding="utf-8") as file:
                file.write(_json_lines([line]))
        numbers = {key: line[key] for key in line.keys() - {"images_seen"}}
        self.accelerator.log(numbers, step=self.images_seen)

    def take_snapshot(self) -> None:
        """Write the EMA weights of this moment."""
        name = f"{self.images_seen:010d}.safetensors"
        path = self.work / SNAPSHOTS / name
        if self.accelerator.is_main_process:
            names = [key for key, _ in self.bare_network.named_parameters()]
            weights = dict(zip(names, self.ema.shadow_params, strict=True))
            save_weights(path, weights, snapshot_description(self.settings, self.images_seen))
            entry = {"file": name, "images_seen": self.images_seen, "sha256": sha256(path)}
            self.snapshots.append(entry)

    def save_state(self, ahead: list[Pairs]) -> None:
        """Replace the rolling state by the present one.

        ``ahead`` are the pairs that the coupling has made and training has not seen; the coupling
        stands still meanwhile.
        """
        pairing = {
            "coupling": self.coupling.state_dict(),
            "batches": self.batches.position,
            "ahead": [tuple(pair) for pair in ahead],
        }
        pairings = gather_object([pairing])
        if not self.accelerator.is_main_process:
            return
        self.state.save(
            {
                "identity": self.identity,
                "step": self.step,
                "network": self.bare_network.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "objective": self.objective.state_dict(),
                "pairings": pairings,
                "stats": self.stats,
                "snapshots": self.snapshots,
                "seconds": self.seconds,
                "recent": self.recent.state_dict(),
                "tracking_key": self.tracking_key,
            }
        )

    def resume(self) -> None:
        """Take up the rolling state, if there is one of this very run; set aside any other."""
        state = self.state.read()
        self.accelerator.wait_for_everyone()  # all have read it before one may move it
        if state is None:
            return
        path = self.state.path
        if state["identity"] != self.identity:
            kept = path.with_name("state.other.pt")
            if self.accelerator.is_main_process:
                path.replace(kept)
                print(f"{path}: of other settings or data, kept as {kept}; training starts anew")
            return
        self.bare_network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.objective.load_state_dict(state["objective"])
        pairing = state["pairings"][self.accelerator.process_index]
        self.coupling.load_state_dict(pairing["coupling"])
        self.batches.position = pairing["batches"]
        self.ahead = [Pairs(*pair) for pair in pairing["ahead"]]
        self.step = state["step"]
        self.stats, self.snapshots = state["stats"], state["snapshots"]
        self.seconds = state["seconds"]
        self.recent = RecentSteps.of_state(state["recent"], self.device)
        self.tracking_key = state.get("tracking_key", self.tracking_key)
        self.check_snapshots()
        print(f"{path}: continuing after {self.images_seen} images", flush=True)

    def check_snapshots(self) -> None:
        """Raise `InputError` unless the snapshots taken so far are as they were saved."""
        for entry in self.snapshots if self.accelerator.is_main_process else []:
            path = self.work / SNAPSHOTS / entry["file"]
            found = sha256(path) if path.is_file() else "no file"
            if found != entry["sha256"]:
                raise InputError(
                    f"{path}: expected sha256 {entry['sha256']} as it was saved, found {found}; "
                    f"delete {self.work} to train from the start"
                )

    def publish(self) -> None:
        """Give the finished results their names in the run's folder and drop the state.

        They stay in ``training/`` too: Snakemake deletes what a job made before it begins anew.
        """
        self.check_snapshots()
        write_text(self.work / STATS, _json_lines(self.stats))
        run = {
            "name": self.folder.parent.name,
            "settings": self.settings.plain(),
            **self.origins,
            "snapshots": self.snapshots,
            "model_sha256": self.snapshots[-1]["sha256"],
            "spent": self.spent | {self.folder.parent.name: self.evaluations},
            "parameters": sum(p.numel() for p in self.bare_network.parameters()),
            "processes": self.accelerator.num_processes,
            "mixed_precision": self.accelerator.mixed_precision,
            "seconds": self.seconds,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **provenance(),
        }
        write_json(self.work / RUN, {"identity": self.identity, "run": run})
        self._publish_from(self.work, run)
        self.state.path.unlink(missing_ok=True)
        shutil.rmtree(self.work / _EARLIER, ignore_errors=True)

    def _publish_from(self, kept: Path, run: dict[str, Any]) -> None:
        for entry in run["snapshots"]:
            publish(kept / SNAPSHOTS / entry["file"], self.folder / SNAPSHOTS / entry["file"])
        publish(kept / SNAPSHOTS / run["snapshots"][-1]["file"], self.folder / MODEL)
        publish(kept / STATS, self.folder / STATS)
        write_json(self.folder / RUN, run)

    def publish_again(self) -> bool:
        """Publish what this very run was finished with before, if it is kept, and tell whether.

        What a run of other settings was finished with is set aside until this one is finished.
        """
        done = False
        earlier = self.work / _EARLIER
        if self.accelerator.is_main_process:
            for kept in (self.work, earlier):
                if not done and (run := self._kept(kept)) is not None:
                    self._publish_from(kept, run)
                    anew = f"delete {self.work} to train anew"
                    print(f"{self.folder}: finished before, kept in {kept}; {anew}", flush=True)
                    done = True
                    if kept == self.work:
                        self.state.path.unlink(missing_ok=True)
            if not done:
                self._set_aside(earlier)
        return broadcast_object_list([done])[0]

    def _set_aside(self, earlier: Path) -> None:
        """Move what a run of other settings was finished with, if this is there, to a folder."""
        parts = [n for n in (SNAPSHOTS, STATS, RUN) if (self.work / n).exists()]  # RUN: all are
        if RUN in parts and SNAPSHOTS in parts:
            shutil.rmtree(earlier, ignore_errors=True)
        # Those that were finished before there was a RUN have no state any more.
        if RUN in parts or (parts and not self.state.path.exists() and not earlier.exists()):
            earlier.mkdir(exist_ok=True)
            for name in parts:
                (self.work / name).replace(earlier / name)

    def _kept(self, folder: Path) -> dict[str, Any] | None:
        """Return the description of this very run, finished, if its results are in a folder."""
        if not (folder / RUN).exists():
            return None
        found = read_json(folder / RUN)
        if not isinstance(found, dict) or found.get("identity") != self.identity:
            return None
        run = found["run"]
        whole = all(
            (path := folder / SNAPSHOTS / entry["file"]).is_file()
            and sha256(path) == entry["sha256"]
            for entry in run["snapshots"]
        )
        return run if whole and (folder / STATS).is_file() else None


def train(
    settings: RunSettings,
    store: Store,
    folder: Path,
    potentials: Path | None = None,
    pairs: Path | None = None,
    start: Path | None = None,
    guide: Path | None = None,
    trackers: Sequence[str] = ("tensorboard",),
) -> None:
    """Train one run, or continue it; see `Trainer` and `Trainer.run`."""
    Trainer(settings, store, folder, potentials, pairs, start, guide, trackers=trackers).run()


def _accelerator(precision: str, trackers: list[Tracker]) -> Accelerator:
    """Return accelerate's interface to the visible GPUs, or to the CPU where there are none."""
    gpu = torch.cuda.is_available()
    if precision == "bf16" and not (
        gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        device = torch.cuda.get_device_name() if gpu else "the CPU"
        raise InputError(
            f"mixed_precision bf16: expected a GPU that has it, found {device}; set "
            "mixed_precision: 'no' in the recipe, or train on another GPU"
        )
    return Accelerator(mixed_precision=precision, cpu=not gpu, log_with=trackers or None)


def _open_pairs(settings: RunSettings, pairs: Path | None) -> PairStore | None:
    if "noise" not in COUPLINGS[settings.coupling.name].needs:
        return None
    if pairs is None:
        raise InputError(f"coupling {settings.coupling.text}: expected teacher's pairs, found none")
    if settings.horizontal_flips:
        raise InputError(
            f"coupling {settings.coupling.text}: expected no horizontal_flips, which would part "
            "samples from their noise"
        )
    opened = open_pairs(pairs)
    opened.check(settings)
    return opened


def _check_samples(settings: RunSettings, store: Store) -> None:
    if tuple(store.array.shape[1:]) != tuple(settings.shape):
        raise InputError(
            f"{store.path}: expected samples of shape {tuple(settings.shape)} as in the config, "
            f"found {tuple(store.array.shape[1:])}"
        )
    if settings.horizontal_flips and not store.can_mirror:
        raise InputError(
            f"{store.path}: expected latents of the mirrored images too, as the dataset has "
            "horizontal_flips, found none"
        )


def _images(store: Store, count: int, stream: torch.Generator) -> torch.Tensor:
    rows = torch.randint(len(store), (count,), generator=stream)
    return store.batch(rows.numpy())


def _json_lines(lines: list[dict[str, float]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)
