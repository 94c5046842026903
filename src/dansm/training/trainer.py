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

import fcntl
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from dansm.config import RunSettings
from dansm.couplings import Batch, Coupling, Pairs, Potentials, make_coupling
from dansm.data.store import Store
from dansm.errors import InputError, InterruptedTraining, TrainingError
from dansm.geometry import path_length
from dansm.io.files import atomic_path, publish, sha256, write_json
from dansm.io.provenance import provenance
from dansm.io.run_folder import LOCK, MODEL, RUN, SNAPSHOTS, STATE, STATS, TRAINING
from dansm.models.networks import make_network, tune_network
from dansm.models.trained import snapshot_description
from dansm.models.weights import save_weights
from dansm.processes import PROCESSES
from dansm.randomness import generator, stream_seed
from dansm.training.prefetching import Prefetcher

_TICKS = 100  # lines of stats.jsonl in a whole run, about
_SAVING_SHARE = 0.02  # of the time, at most, goes into saving the state
_AGREEING_STEPS = 10  # between two times that several processes ask each other whether to end


class ShuffledBatches:
    """An endless stream of batches: each epoch visits every sample once, in an order of its own.

    Batches run on across epochs, so all have the same size. The stream is addressed by
    ``position``, the number of batches already taken. Latents with a posterior are drawn anew each
    time.
    """

    def __init__(self, store: Store, settings: RunSettings, rank: int, ranks: int) -> None:
        if settings.batch_size % ranks:
            raise InputError(
                f"batch_size {settings.batch_size}: expected a multiple of {ranks} processes"
            )
        self._store = store
        self._settings = settings
        self._share = slice(rank, None, ranks)
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)
        self.position = 0
        self.device = torch.device("cpu")

    def __iter__(self) -> Iterator[Batch]:
        while True:
            seed, size = self._settings.seed, self._settings.batch_size
            rows = self._rows(self.position * size, size)[self._share]
            mirrored = noise = None
            if self._settings.horizontal_flips:
                flips = torch.rand(size, generator=generator(seed, "flips", self.position))
                mirrored = flips[self._share] < 0.5
            if self._store.has_posterior:
                stream = generator(seed, "posterior", self.position)
                shape = (size, *self._settings.shape)
                noise = torch.randn(shape, generator=stream)[self._share]
            samples = self._store.draw(rows.numpy(), mirrored, noise)
            self.position += 1
            yield Batch(samples.to(self.device), {"row": rows})

    def _rows(self, first: int, count: int) -> Tensor:
        """Return which samples come at places ``first … first + count - 1`` of the stream."""
        parts = []
        while count > 0:
            epoch, place = divmod(first, len(self._store))
            if epoch != self._epoch:
                self._epoch = epoch
                stream = generator(self._settings.seed, "order", epoch)
                self._order = torch.randperm(len(self._store), generator=stream)
            parts.append(self._order[place : place + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return torch.cat(parts)


@dataclass
class Window:
    """What happened since the last line of statistics; values stay on the device until read."""

    losses: list[Tensor] = field(default_factory=list)
    gradient_norms: list[Tensor] = field(default_factory=list)
    pairing_seconds: float = 0.0  # spent by the thread that loads and matches
    waiting_seconds: float = 0.0  # spent by training until pairs were there
    started: float = field(default_factory=time.perf_counter)

    def values(self) -> tuple[list[float], list[float]]:
        """Return losses and gradient norms."""
        both = self.losses, self.gradient_norms
        losses, norms = (torch.stack(values).tolist() if values else [] for values in both)
        return losses, norms

    def state(self) -> dict[str, Any]:
        """Return all of it, for a run that is saved amid a window."""
        losses, norms = self.values()
        return {
            "losses": losses,
            "gradient_norms": norms,
            "pairing_seconds": self.pairing_seconds,
            "waiting_seconds": self.waiting_seconds,
            "seconds": time.perf_counter() - self.started,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any], device: torch.device) -> "Window":
        """Return the window that `state` described."""
        return cls(
            losses=list(torch.tensor(state["losses"], device=device)),
            gradient_norms=list(torch.tensor(state["gradient_norms"], device=device)),
            pairing_seconds=state["pairing_seconds"],
            waiting_seconds=state["waiting_seconds"],
            started=time.perf_counter() - state["seconds"],
        )


class Trainer:
    """One training run; `train` is the usual way to use it.

    Parameters
    ----------
    settings
        The resolved run.
    store
        The dataset; its shape must be the settings'.
    folder
        Folder of the run.
    potentials
        File of the dataset's fitted potentials, for the coupling ``semidiscrete``.
    state_seconds
        Least time between two saves of the rolling state; it grows where saving is slow.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        folder: Path,
        potentials: Path | None = None,
        state_seconds: float = 5.0,
    ) -> None:
        if tuple(store.array.shape[1:]) != tuple(settings.shape):
            raise InputError(
                f"{store.path}: expected samples of shape {tuple(settings.shape)} as in the "
                f"config, found {tuple(store.array.shape[1:])}"
            )
        if settings.horizontal_flips and not store.can_mirror:
            raise InputError(
                f"{store.path}: expected latents of the mirrored images too, as the dataset has "
                "horizontal_flips, found none"
            )
        self.settings = settings
        self.store = store
        self.folder = Path(folder)
        self.work = self.folder / TRAINING
        self.state_seconds = state_seconds
        self._save_at = time.perf_counter() + state_seconds
        bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = settings.mixed_precision if bf16 else "no"
        self.accelerator = Accelerator(mixed_precision=precision)
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.process = PROCESSES[settings.process]
        network = make_network(settings.network, settings.shape, settings.seed)
        tune_network(network, channels_last=settings.channels_last, compiled=settings.compile)
        optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        self.network, self.optimizer = self.accelerator.prepare(network, optimizer)
        self.ema = EMAModel(self.bare_network.parameters(), decay=settings.ema_decay, foreach=True)
        self.ema.to(self.accelerator.device)
        options = dataset_options(
            store, settings.coupling_kind, settings.coupling_options, potentials
        )
        if "samples" in options:
            options["samples"] = options["samples"].to(self.accelerator.device)
        self.coupling: Coupling = make_coupling(
            settings.coupling_kind,
            match_size=settings.match_size,
            seed=stream_seed(settings.seed, "coupling", rank),
            **settings.coupling_options,
            **options,
        )
        self.batches = ShuffledBatches(store, settings, rank, ranks)
        self.batches.device = self.accelerator.device
        self.ahead: list[Pairs] = []  # made before the state was saved, not trained on yet
        self.window: Window | None = None  # that in which the state was saved, if amid one
        self.step = 0
        self.stats: list[dict[str, float]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def bare_network(self) -> torch.nn.Module:
        """The network without accelerate's wrappers."""
        return self.accelerator.unwrap_model(self.network)

    @property
    def images_seen(self) -> int:
        """Training images seen so far, by all processes together."""
        return self.step * self.settings.batch_size

    @property
    def identity(self) -> str:
        """What a state must agree on to be continued."""
        return json.dumps(
            {
                "settings": self.settings.canonical_json(),
                "dataset_sha256": self.store.meta["sha256"],
                "processes": self.accelerator.num_processes,
            }
        )

    def run(self) -> None:
        """Train from the last state to the end, and write the run's results.

        Raises
        ------
        InputError
            If another job is training this run.
        TrainingError
            If a loss or gradient is not finite; the last good state is kept.
        InterruptedTraining
            If told to end by SIGTERM; the state is saved.
        """
        with self._alone(), heeding_sigterm() as told_to_end:
            self._run(told_to_end)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Lock the run's folder; of several processes, the main one does it for all."""
        if not self.accelerator.is_main_process:
            yield
            return
        path = self.work / LOCK
        path.parent.mkdir(parents=True, exist_ok=True)
        # The kernel takes the lock from a process that dies; the file may stay.
        with open(path, "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise InputError(
                    f"{self.folder}: expected no other job to train this run, found "
                    f"{file.read()}; wait for it, or end it first"
                ) from None
            except OSError as error:  # a file system mounted without locks
                print(f"{path}: no protection against a second job ({error.strerror})")
            file.truncate(0)
            file.write(f"process {os.getpid()} on {os.uname().nodename}")
            file.flush()
            yield

    def _run(self, told_to_end: list[int]) -> None:
        settings = self.settings
        self.resume()
        schedule = set(settings.snapshot_steps())
        tick_every = max(1, settings.steps // _TICKS)
        board = None
        if self.accelerator.is_main_process:
            folder = str(self.work / "tensorboard")
            board = SummaryWriter(folder, purge_step=self.images_seen or None)
            for stale in self.work.rglob(".*.partial*"):  # cut short by a kill
                stale.unlink()
            # A line for each tick, to be watched; what came after the state is written again.
            (self.work / STATS).write_text(_json_lines(self.stats))
        progress = tqdm(
            total=settings.steps * settings.batch_size,
            initial=self.images_seen,
            unit="images",
            desc="/".join(self.folder.parts[-4:]),
            mininterval=1,
            disable=not self.accelerator.is_main_process,
        )
        window = self.window or Window()
        started, seconds_before = time.perf_counter(), self.seconds
        pairs = self.coupling.pairs(self.batches)
        with Prefetcher(pairs, self.accelerator.device, self.ahead) as prefetcher:
            while self.step < settings.steps:
                before = time.perf_counter()
                pair, seconds = next(prefetcher)
                window.waiting_seconds += time.perf_counter() - before
                window.pairing_seconds += seconds
                self.advance(pair, window)
                progress.update(settings.batch_size)
                snapshot = self.step in schedule
                if snapshot or self.step % tick_every == 0:
                    self.seconds = seconds_before + time.perf_counter() - started
                    self.tick(pair, window, board)
                    window = Window()
                    if snapshot:
                        self.take_snapshot()
                    if self.step < settings.steps and self.is_time_to_save():
                        with prefetcher.paused() as ahead:
                            self.save_state(ahead, window)
                if self.step < settings.steps and self.must_end(bool(told_to_end)):
                    self.seconds = seconds_before + time.perf_counter() - started
                    self.check_finite(window)
                    with prefetcher.paused() as ahead:
                        self.save_state(ahead, window)
                    self.accelerator.wait_for_everyone()  # one that left would end the others
                    raise InterruptedTraining(
                        f"{self.folder}: told to end after {self.images_seen} images; "
                        f"the state is saved in {self.work / STATE}"
                    )
        progress.close()
        if board is not None:
            board.close()
            self.publish()
        self.accelerator.wait_for_everyone()

    def advance(self, pair: Pairs, window: Window) -> None:
        """Take one optimiser step on a batch of pairs."""
        settings = self.settings
        if settings.network.dropout > 0:
            # Dropout knows only torch's global generator, so every step gives it a seed.
            torch.manual_seed(
                stream_seed(settings.seed, "dropout", self.step, self.accelerator.process_index)
            )
        times = generator(settings.seed, "times", self.step, self.accelerator.process_index)
        loss = self.process.loss(
            lambda points, t: self.network(points, t).sample, pair.samples, pair.noise, times
        )
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.bare_network.parameters())
        self.step += 1
        window.losses.append(loss.detach())
        window.gradient_norms.append(torch.as_tensor(norm).detach())

    def must_end(self, told: bool) -> bool:
        """Tell whether any process was told to end; all hear of it at the same step."""
        if self.accelerator.num_processes == 1:
            return told
        if self.step % _AGREEING_STEPS:
            return False
        if told:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def check_finite(self, window: Window) -> tuple[list[float], list[float]]:
        """Return the window's losses and gradient norms.

        Raises
        ------
        TrainingError
            If one is not finite.
        """
        losses, norms = window.values()
        for k, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
            if not (abs(loss) < float("inf") and abs(norm) < float("inf")):
                step = self.step - len(losses) + k + 1
                state = self.work / STATE
                kept = "no state had been saved yet"
                if state.exists():
                    kept = f"the last good state is kept in {state}"
                raise TrainingError(
                    f"{self.folder}: at step {step} ({step * self.settings.batch_size} images) "
                    f"the loss is {loss} and the gradient norm {norm}, expected finite; {kept}"
                )
        return losses, norms

    def tick(self, pair: Pairs, window: Window, board: SummaryWriter | None) -> None:
        """Check that all is finite and, on the main process, add a line of statistics."""
        losses, norms = self.check_finite(window)
        random_noise = torch.randn(
            pair.samples.shape, generator=generator(self.settings.seed, "stats", self.step)
        ).to(pair.samples)
        seconds = time.perf_counter() - window.started
        line = {
            "images_seen": self.images_seen,
            "loss": sum(losses) / len(losses),
            "gradient_norm": sum(norms) / len(norms),
            "path_length_random": path_length(pair.samples, random_noise).mean().item(),
            "path_length_matched": path_length(pair.samples, pair.noise).mean().item(),
            "images_per_second": len(losses) * self.settings.batch_size / seconds,
            "pairing_ms_per_batch": 1000 * window.pairing_seconds / len(losses),
            "waiting_ms_per_batch": 1000 * window.waiting_seconds / len(losses),
            "peak_memory_mib": peak_memory() / 2**20,
            "seconds": self.seconds,
        }
        self.stats.append(line)
        if board is not None:
            with open(self.work / STATS, "a", encoding="utf-8") as file:
                file.write(_json_lines([line]))
            for key in line.keys() - {"images_seen"}:
                board.add_scalar(key, line[key], self.images_seen)

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

    def is_time_to_save(self) -> bool:
        """Tell whether the state is due; the main process decides for all."""
        due = [time.perf_counter() >= self._save_at]
        return broadcast_object_list(due)[0]

    def save_state(self, ahead: list[Pairs], window: Window) -> None:
        """Replace the rolling state by the present one, atomically.

        ``ahead`` are the pairs that the coupling has made and training has not seen; the coupling
        stands still meanwhile. ``window`` is what no line of statistics holds yet.
        """
        started = time.perf_counter()
        pairing = {
            "coupling": self.coupling.state_dict(),
            "batches": self.batches.position,
            "ahead": [tuple(pair) for pair in ahead],
        }
        pairings = gather_object([pairing])
        if not self.accelerator.is_main_process:
            return
        state = {
            "identity": self.identity,
            "step": self.step,
            "network": self.bare_network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "pairings": pairings,
            "stats": self.stats,
            "snapshots": self.snapshots,
            "seconds": self.seconds,
            "window": window.state(),
        }
        with atomic_path(self.work / STATE) as partial:
            torch.save(state, partial)
        now = time.perf_counter()
        self._save_at = now + max(self.state_seconds, (now - started) / _SAVING_SHARE)

    def resume(self) -> None:
        """Take up the rolling state, if there is one of this very run; set aside any other.

        Raises
        ------
        InputError
            If the state file cannot be read.
        """
        path = self.work / STATE
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.accelerator.wait_for_everyone()  # all have read it before one may move it
        except Exception as error:
            raise InputError(
                f"{path}: expected a training state, found {path.stat().st_size} bytes that "
                f"cannot be read ({error}); delete the file to train from the start"
            ) from error
        if state["identity"] != self.identity:
            kept = path.with_name("state.other.pt")
            if self.accelerator.is_main_process:
                path.replace(kept)
                print(f"{path}: of other settings or data, kept as {kept}; training starts anew")
            return
        self.bare_network.load_state_dict(state["network"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.accelerator.device)
        self.optimizer.load_state_dict(state["optimizer"])
        pairing = state["pairings"][self.accelerator.process_index]
        self.coupling.load_state_dict(pairing["coupling"])
        self.batches.position = pairing["batches"]
        self.ahead = [Pairs(*pair) for pair in pairing["ahead"]]
        self.step = state["step"]
        self.stats, self.snapshots = state["stats"], state["snapshots"]
        self.seconds = state["seconds"]
        self.window = Window.of_state(state["window"], self.accelerator.device)
        print(f"{path}: continuing after {self.images_seen} images", flush=True)

    def publish(self) -> None:
        """Give the finished results their names in the run's folder and drop the state."""
        for entry in self.snapshots:
            publish(self.work / SNAPSHOTS / entry["file"], self.folder / SNAPSHOTS / entry["file"])
        last = self.snapshots[-1]
        publish(self.work / SNAPSHOTS / last["file"], self.folder / MODEL)
        with atomic_path(self.folder / STATS) as partial:
            partial.write_text(_json_lines(self.stats))
        run = {
            "settings": self.settings.model_dump(mode="json"),
            "dataset_sha256": self.store.meta["sha256"],
            "snapshots": self.snapshots,
            "model_sha256": last["sha256"],
            "parameters": sum(p.numel() for p in self.bare_network.parameters()),
            "processes": self.accelerator.num_processes,
            "mixed_precision": self.accelerator.mixed_precision,
            "seconds": self.seconds,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **provenance(),
        }
        write_json(self.folder / RUN, run)
        (self.work / STATE).unlink(missing_ok=True)


def train(
    settings: RunSettings, store: Store, folder: Path, potentials: Path | None = None
) -> None:
    """Train one run, or continue it; see `Trainer` and `Trainer.run`."""
    Trainer(settings, store, folder, potentials).run()


@contextmanager
def heeding_sigterm() -> Iterator[list[int]]:
    """Yield a list to which SIGTERM adds its number, in place of killing the process."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def dataset_options(
    store: Store, coupling: str, options: Mapping[str, Any], potentials: Path | None
) -> dict[str, Any]:
    """Return what couplings over a finite dataset need to know of it, for `make_coupling`.

    Parameters
    ----------
    store
        The dataset.
    coupling, options
        The coupling's name and the options it is made with.
    potentials
        The file of them, for ``semidiscrete``.

    Raises
    ------
    InputError
        If potentials are needed and missing, or not those of the dataset.
    """
    if coupling == "loom":
        return {"count": len(store), "shape": store.array.shape[1:]}
    if coupling != "semidiscrete":
        return {}
    if potentials is None:
        raise InputError("coupling semidiscrete: expected a file of potentials, found none")
    samples = store.batch(np.arange(len(store)))
    return {"samples": samples, "potentials": Potentials.load(potentials, samples, **options)}


def _json_lines(lines: list[dict[str, float]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def peak_memory() -> int:
    """Return peak memory in bytes: the GPU's where one is used, the process's otherwise."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
