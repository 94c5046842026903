"""What runs of several stages cost, in evaluations of networks."""

from collections.abc import Sequence
from pathlib import Path

from dansm.io.run_folder import read_run
from dansm.io.tables import COST_COLUMNS, run_columns, write_table


def measure_costs(folders: Sequence[Path], path: Path) -> None:
    """Write a table of `COST_COLUMNS`: what each run cost, a row for each stage.

    ``evaluations`` are of a network for one sample; a training step counts three for each image, a
    forward and a backward pass, or what its loss says. A stage is the run itself, the run that it
    began with, the pairs of a teacher, that teacher, and what came before these.

    Parameters
    ----------
    folders
        Of finished runs.
    """
    rows = []
    for folder in folders:
        run = read_run(Path(folder))
        described = run_columns(run.name, run.settings)
        rows += [
            described | {"stage": stage, "evaluations": spent} for stage, spent in run.costs.items()
        ]
    write_table(path, rows, COST_COLUMNS)
