"""What a run's folder holds; `dansm.training.trainer` says when."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from dansm.config import RunSettings
from dansm.io.files import read_model
from dansm.io.records import is_proven

MODEL = "model.safetensors"
RUN = "run.json"
STATS = "stats.jsonl"
SNAPSHOTS = "snapshots"
TRAINING = "training"
STATE = "state.pt"


class Snapshot(BaseModel):
    """Weights of a moment of a training; ``file`` is below the run's `SNAPSHOTS`."""

    file: str
    images_seen: int
    sha256: str


class Run(BaseModel):
    """What ``run.json`` says of a finished run, as far as others ask for it."""

    name: str
    settings: RunSettings
    snapshots: list[Snapshot] = Field(min_length=1)
    model_sha256: str
    hardware: dict[str, Any] = {}
    spent: dict[str, float] = {}  # those finished before say nothing

    @property
    def device(self) -> str | None:
        """The name of the GPU, or of the processor without one."""
        device = self.hardware.get("device")
        return self.hardware.get("processor") if device == "cpu" else device

    @property
    def costs(self) -> dict[str, float]:
        """Evaluations of networks for one sample, by what took them: runs, and pairs of teachers.

        A training image is three, where the run does not say it: a forward and a backward pass.
        """
        images = self.settings.steps * self.settings.batch_size
        return self.spent or {self.name: 3.0 * images}


def costs_of(folder: Path) -> dict[str, float]:
    """Return the `Run.costs` of a finished run; nothing of weights without a `RUN` beside them."""
    return read_run(folder).costs if (folder / RUN).exists() else {}


def read_run(folder: Path) -> Run:
    """Return what a finished run is.

    Raises
    ------
    InputError
        If its `RUN` is missing, not valid, or not as the job that made it left it.
    """
    is_proven(folder / RUN)
    return read_model(folder / RUN, Run)
