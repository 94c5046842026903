"""What the figures' notebooks say of themselves: which files they read, and of what."""

import ast
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, StrictBool, model_validator

from dansm.errors import InputError
from dansm.io.files import atomic_path, read_model


class FigureNotebook(BaseModel):
    """A figure's notebook. What it reads is in its metadata ``dansm``.

    Attributes
    ----------
    of
        What it is of. The name of the comparison or the dataset is the parameter ``subject``.
    tables
        Files below the folder of results, by parameter; ``{comparison}`` or ``{dataset}`` stands
        for the name.
    optional
        Likewise, of those it can do without; the parameter is empty where there is none.
    reference
        Whether it shows distances, and so has the parameter ``reference``: to which real images.
    samples
        Whether it reads the samples of the first seed of every run of a comparison, as the
        parameter ``samples``: a list of ``run``, ``seed`` and ``path``.
    name, title, caption
        Of the figure and of the file; heading of the first cell, and the rest of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: Literal["comparison", "dataset", "nothing"]
    tables: dict[str, str] = {}
    optional: dict[str, str] = {}
    reference: StrictBool = False
    samples: StrictBool = False
    name: str = ""
    title: str = ""
    caption: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for key in ("reference", "samples"):
            if getattr(self, key) and self.of != "comparison":
                raise ValueError(f"{key}: expected of a comparison, found of a {self.of}")
        for file in (*self.tables.values(), *self.optional.values()):
            if "{" in file.replace(f"{{{self.of}}}", ""):
                raise ValueError(f"expected no braces but {{{self.of}}}, found {file}")
        return self


class _Tags(BaseModel):
    tags: list[str] = []


class _Cell(BaseModel):
    cell_type: str
    metadata: _Tags
    source: list[str] | str


class _Metadata(BaseModel):
    dansm: FigureNotebook


class _Notebook(BaseModel):
    cells: list[_Cell]
    metadata: _Metadata


def read_notebooks(folder: Path) -> dict[str, FigureNotebook]:
    """Return the notebooks of a folder by their names.

    Raises
    ------
    InputError
        If a notebook is not one, or does not say what it reads, shows and takes as parameters.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.ipynb"))}


def _read(path: Path) -> FigureNotebook:
    content = read_model(path, _Notebook)
    said, cells = content.metadata.dansm, content.cells
    first = "".join(cells[0].source) if cells and cells[0].cell_type == "markdown" else ""
    heading, _, text = first.partition("\n")
    title, caption = heading.removeprefix("# "), text.strip()
    if not heading.startswith("# ") or not caption:
        raise InputError(f"{path}: expected a heading and a caption in the first cell")
    named = {"subject"} if said.of != "nothing" else set()
    named |= {key for key in ("reference", "samples") if getattr(said, key)}
    wanted = {*said.tables, *said.optional, "output"} | named
    tagged = ["".join(cell.source) for cell in cells if "parameters" in cell.metadata.tags]
    found = _assigned("\n".join(tagged))
    if len(tagged) != 1 or found != wanted:
        raise InputError(
            f"{path}: expected one cell tagged parameters with defaults of {sorted(wanted)}, "
            f"found {len(tagged)} with {sorted(found)}"
        )
    return said.model_copy(update={"name": path.stem, "title": title, "caption": caption})


def execute_notebook(path: Path, output: Path, parameters: Mapping[str, Any]) -> None:
    """Execute a notebook with parameters and keep it as executed.

    It runs on this Python, without what the user has set up for IPython and Jupyter (start-up
    scripts, extensions, kernels of the same name), and needs no home folder.
    """
    import papermill  # here, since the workflow reads notebooks whenever it starts

    with tempfile.TemporaryDirectory() as folder, atomic_path(output) as partial:
        for name in ("CONFIG", "DATA", "RUNTIME"):
            os.environ[f"JUPYTER_{name}_DIR"] = folder
        os.environ["IPYTHONDIR"] = folder
        for name in ("JUPYTER_PATH", "PYTHONSTARTUP"):
            os.environ.pop(name, None)
        papermill.execute_notebook(
            path,
            partial,
            parameters=dict(parameters),
            kernel_name="python3",
            log_output=True,
            progress_bar=False,
        )


def _assigned(code: str) -> set[str]:
    """Return the names that a cell assigns to, none if it is no Python."""
    try:
        lines = ast.parse(code).body
    except (SyntaxError, ValueError):
        return set()
    targets = [target for line in lines if isinstance(line, ast.Assign) for target in line.targets]
    return {target.id for target in targets if isinstance(target, ast.Name)}
