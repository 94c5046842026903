"""What the figures' notebooks say of themselves: which files they read, and of what.

Needs nothing but the standard library, since the workflow reads them whenever it starts.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dansm.errors import InputError

# What a figure can be of, with the parameters that it then has beside its files.
_PARAMETERS = {
    "comparison": {"subject", "output"},
    "dataset": {"subject", "output"},
    "nothing": {"output"},
}


@dataclass(frozen=True)
class FigureNotebook:
    """A figure's notebook.

    Attributes
    ----------
    name
        Of the figure and of the file.
    of
        What it is of: ``comparison``, ``dataset`` or ``nothing``. The name of the one or the other
        is the parameter ``subject``.
    tables
        Files below the folder of results, by parameter; ``{comparison}`` or ``{dataset}`` stands
        for the name.
    optional
        Likewise, of those it can do without; the parameter is empty where there is none.
    samples
        Whether it reads the samples of the first seed of every run of a comparison, as the
        parameter ``samples``: a list of ``run``, ``seed`` and ``path``.
    title, caption
        Heading of the first cell, and the rest of it.
    """

    name: str
    of: str
    tables: Mapping[str, str]
    optional: Mapping[str, str]
    samples: bool
    title: str
    caption: str


def read_notebooks(folder: Path) -> dict[str, FigureNotebook]:
    """Return the notebooks of a folder by their names.

    Raises
    ------
    InputError
        If a notebook is not one, or does not say what it reads, shows and takes as parameters.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.ipynb"))}


def _read(path: Path) -> FigureNotebook:
    def expect(met: bool, expected: str, found: Any) -> None:
        if not met:
            raise InputError(f"{path}: expected {expected}, found {found!r}")

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cells = [(cell["cell_type"], cell["metadata"], "".join(cell["source"]))
                 for cell in content["cells"]]  # fmt: skip
        said = content["metadata"].get("dansm", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected a notebook, found {error!r}") from error
    keys = {"of", "tables", "optional", "samples"}
    expect(isinstance(said, dict) and said.keys() <= keys, f"metadata dansm with {keys}", said)
    of, samples = said.get("of"), said.get("samples", False)
    expect(of in _PARAMETERS, f"metadata dansm.of as one of {list(_PARAMETERS)}", of)
    expect(
        samples is False or (samples is True and of == "comparison"),
        "metadata dansm.samples true of a comparison only",
        samples,
    )
    tables, optional = said.get("tables", {}), said.get("optional", {})
    for key, names in (("tables", tables), ("optional", optional)):
        expect(
            isinstance(names, dict) and all(isinstance(name, str) for name in names.values()),
            f"metadata dansm.{key} as file names by parameter",
            names,
        )
        for name in names.values():
            without = name.replace(f"{{{of}}}", "")
            expect("{" not in without, f"no braces but {{{of}}} in dansm.{key}", name)
    kind, _, text = cells[0] if cells else ("", {}, "")
    heading, _, caption = text.partition("\n")
    caption = caption.strip()
    expect(
        kind == "markdown" and heading.startswith("# ") and caption != "",
        "a heading and a caption in the first cell",
        text,
    )
    defaults = [text for _, metadata, text in cells if "parameters" in metadata.get("tags", [])]
    expect(len(defaults) == 1, "one cell tagged parameters", len(defaults))
    found = {
        target.id
        for line in ast.parse(defaults[0]).body
        if isinstance(line, ast.Assign)
        for target in line.targets
        if isinstance(target, ast.Name)
    }
    wanted = {*tables, *optional, *_PARAMETERS[of], *(["samples"] if samples else [])}
    expect(found == wanted, f"defaults of the parameters {sorted(wanted)}", sorted(found))
    title = heading.removeprefix("# ")
    return FigureNotebook(path.stem, of, tables, optional, samples, title, caption)
