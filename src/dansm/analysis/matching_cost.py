"""What matching costs: time per sample and peak memory of every method, in a grid of sizes.

A *cell* is a method with a match size, a number of dimensions and a batch size, as far as the
method has them. Each is measured in a child process of its own: forked, so that it need not import
anything, and so that its peak memory is its own. `dansm.analysis.timed_methods` has the methods,
and says what is timed.
"""

import json
import math
import multiprocessing
import resource
import sys
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import ot  # noqa: F401 - so that forked children find it imported
import pandas as pd
import torch
from tqdm import tqdm

from dansm.analysis.timed_methods import METHODS, Cell, time_cell
from dansm.config import MatchingCost
from dansm.couplings.base import free_memory
from dansm.io.notes import append_note, read_notes
from dansm.io.provenance import processor_name
from dansm.io.tables import MATCHING_COST_COLUMNS, write_table

_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def cells(settings: MatchingCost) -> list[Cell]:
    """Return all cells, match sizes ascending within method, dimensions and batch size."""
    return [
        Cell(name, match_size, dimensions, batch_size)
        for name, method in METHODS.items()
        for dimensions in settings.dimensions
        for batch_size in (settings.batch_sizes if method.batched else [None])
        for match_size in (settings.match_sizes if method.sized else [None])
    ]


def measure_matching_cost(settings: MatchingCost, path: Path, threads: int) -> None:
    """Measure every cell and write the table of `MATCHING_COST_COLUMNS`.

    A cell that would exceed the limits, or whose library is not installed, has a row with a note
    that says so, and no numbers. Cells that are done are noted beside the table until it is
    complete, so an interrupted measurement continues. ``times_matmul`` is the ratio to the matrix
    product of the same three sizes.

    Parameters
    ----------
    settings
        The grid, the limits and the seed.
    path
        The table.
    threads
        Of each child process.
    """
    notes = Path(path).parent / "training" / f"{Path(path).stem}.jsonl"
    machine = {
        "threads": threads,
        "device": "cpu",
        "processor": processor_name(),
        "torch": torch.__version__,
    }
    identity = json.dumps(machine) + settings.model_dump_json()
    done = read_notes(notes, identity)
    rows: list[dict[str, Any]] = []
    smaller = None
    for cell in tqdm(cells(settings), unit="cells", desc="matching cost", mininterval=1):
        key = " ".join(str(part) for part in cell)
        if key not in done:
            done[key] = [measure_cell(cell, settings, threads, smaller)]
            append_note(notes, identity, key, done[key])
        rows += done[key]
        smaller = done[key][0]
    table = pd.DataFrame(rows).assign(**machine)
    sizes = ["match_size", "dimensions", "batch_size"]
    product = table[table["method"] == "matmul"].set_index(sizes)["microseconds_per_sample"]
    table = table.join(product.rename("product"), on=sizes)
    table["times_matmul"] = table["microseconds_per_sample"] / table["product"]
    write_table(path, table, MATCHING_COST_COLUMNS)
    notes.unlink(missing_ok=True)


def measure_cell(
    cell: Cell, settings: MatchingCost, threads: int, smaller: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Measure one cell in a child process.

    Parameters
    ----------
    cell, settings, threads
        What to measure and how.
    smaller
        The row of the cell before: if it differs by a smaller match size or batch only, the time
        that this one needs is foretold from it.

    Returns
    -------
    dict
        The columns of the table that are the cell's own, and ``seconds``: how long the set-up and
        the first repetition took, or would have taken.

    Raises
    ------
    RuntimeError
        If the measurement fails by an exception, which the child has printed.
    """
    method = METHODS[cell.method]
    row = cell._asdict() | {"seconds": None, "note": method.remark}
    if method.library and find_spec(method.library) is None:
        return row | {"note": f"{method.library} is not installed"}
    if method.sized:
        needed = method.memory(cell.match_size, cell.dimensions) / 1e6
        limit = min(settings.memory_mb, free_memory(torch.device("cpu")) / 1e6)
        if needed > limit:
            return row | {"note": f"needs about {needed:,.0f} MB of memory; limit {limit:,.0f} MB"}
    # Short times say nothing about larger sizes.
    if smaller is not None and (smaller["seconds"] or 0) > settings.limit_seconds / 10:
        same = all(smaller[key] == row[key] for key in ("method", "dimensions"))
        sizes = [key for key in ("match_size", "batch_size") if row[key] is not None]
        factors = [row[key] / smaller[key] for key in sizes if same]
        if factors and min(factors) >= 1:
            expected = smaller["seconds"] * math.prod(factors) ** method.growth
            if expected > settings.limit_seconds:
                note = f"would take about {expected:,.0f} s; limit {settings.limit_seconds:g} s"
                return row | {"seconds": expected, "note": note}
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_repeat, args=(sender, cell, settings, threads), daemon=True)
    child.start()
    sender.close()
    patience = settings.limit_seconds + settings.seconds
    try:
        if not receiver.poll(patience):
            child.kill()
            limit = f"limit {settings.limit_seconds:g} s"
            return row | {"seconds": patience, "note": f"no result after {patience:g} s; {limit}"}
        return row | receiver.recv()
    except EOFError:
        child.join()
        if child.exitcode > 0:
            raise RuntimeError(f"{cell}: failed, see the traceback above") from None
        return row | {"note": f"ended by signal {-child.exitcode}, as when memory runs out"}
    finally:
        child.join()


def _repeat(sender: Connection, cell: Cell, settings: MatchingCost, threads: int) -> None:
    torch.set_num_threads(threads)
    before = _peak_bytes()
    measured = time_cell(
        cell,
        settings.seed,
        seconds=settings.seconds,
        repetitions=settings.repetitions,
        limit_seconds=settings.limit_seconds,
    )
    sender.send(measured | {"peak_memory_mib": (_peak_bytes() - before) / 2**20})


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT
