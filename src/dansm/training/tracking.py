"""Progress of training in experiment trackers, TensorBoard or others that accelerate knows."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import tracking
from accelerate.tracking import GeneralTracker

from dansm.errors import InputError

_PROJECT = "dansm"


class Tracker(GeneralTracker):
    """One of accelerate's trackers, whose failure does not end the training.

    It says so in one line, and is not asked again: waiting for a server would slow training.

    Parameters
    ----------
    name
        As accelerate calls it.
    begin
        Returns accelerate's own, begun. It is called when it is known where training goes on.
    """

    requires_logging_directory = False

    def __init__(self, name: str, begin: Callable[[], GeneralTracker]) -> None:
        self.name = name
        self.tracker: GeneralTracker | None = None
        self._begin = begin
        super().__init__()

    def start(self) -> None:
        """Begin."""
        with self._guarded():
            self.tracker = self._begin()

    def log(self, values: dict[str, float], step: int | None = None, **options: Any) -> None:
        """Pass on numbers by their names; the step is in images seen."""
        with self._guarded():
            if self.tracker is not None:
                self.tracker.log(values, step=step, **options)

    def finish(self) -> None:
        """End the run in the tracker."""
        with self._guarded():
            if self.tracker is not None:
                self.tracker.finish()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any package
            self.tracker = None
            found = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"trackers: {self.name} failed ({found}); training goes on without", flush=True)


def check_installed(names: Iterable[str]) -> None:
    """Check that accelerate can use trackers here.

    Raises
    ------
    InputError
        If a tracker's package is not installed.
    """
    installed = [str(kind) for kind in tracking.get_available_trackers()]
    for name in names:
        if name not in installed:
            raise InputError(
                f"trackers: expected those whose packages are installed, {sorted(installed)}, "
                f"found {name!r}; pip install {name.replace('_', '-')} where training runs, or "
                "leave it out"
            )


def begin_tracker(
    name: str, folder: Path, run: str, settings: dict[str, Any], images_seen: int, key: str
) -> GeneralTracker:
    """Begin a run in one of accelerate's trackers, or go on with it where the tracker can.

    Parameters
    ----------
    name
        As accelerate calls it.
    folder
        For its files.
    run
        What the run is called there.
    settings
        What the run is; TensorBoard, which would make other runs of them, is not told.
    images_seen
        Where training goes on; TensorBoard does not show what it has beyond any more.
    key
        32 hexadecimal digits, those of before where training goes on.
    """
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": images_seen + 1 if images_seen else None},
        "wandb": {"name": run, "id": key, "resume": "allow", "dir": str(folder)},
        "swanlab": {
            "experiment_name": run,
            "id": key[:21],
            "resume": "allow",
            "logdir": str(folder),
        },
        "trackio": {"name": run, "resume": "allow" if images_seen else "never"},
        "comet_ml": {"experiment_key": key, "mode": "get_or_create"},
        "mlflow": {"run_name": run},
        "clearml": {"task_name": run},
        "aim": {"experiment": _PROJECT},
        "dvclive": {
            "dir": str(folder / "dvclive"),
            "resume": images_seen > 0,
            # Neither commits nor a file in the checkout.
            "save_dvc_exp": False,
            "dvcyaml": None,
        },
    }
    kind = tracking.LOGGER_TYPE_TO_CLASS[name]
    # accelerate takes the project's name for TensorBoard's folder, and for the run's in Aim.
    project = {"tensorboard": "tensorboard", "aim": run}.get(name, _PROJECT)
    place = [str(folder)] if kind.requires_logging_directory else []
    tracker = kind(project, *place, **options[name])
    tracker.start()
    if name != "tensorboard":
        tracker.store_init_configuration({"run": run} | settings)
    return tracker
