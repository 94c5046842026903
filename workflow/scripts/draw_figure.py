"""Execute a figure's notebook with papermill; it writes the PDF and the PNG itself."""

from pathlib import Path

import papermill

from dansm.figures.notebooks import read_notebooks
from dansm.io.files import atomic_path
from dansm.workflow.jobs import job

with job(snakemake):
    path = Path(snakemake.input.notebook)
    notebook = read_notebooks(path.parent)[path.stem]
    parameters = {
        name: str(snakemake.input.get(name, "")) for name in (*notebook.tables, *notebook.optional)
    }
    if snakemake.params.subject:
        parameters["subject"] = snakemake.params.subject
    if notebook.samples:
        parameters["samples"] = snakemake.params.samples
    parameters["output"] = str(Path(snakemake.output.pdf).with_suffix(""))
    with atomic_path(Path(snakemake.output.notebook)) as partial:
        papermill.execute_notebook(
            path,
            partial,
            parameters=parameters,
            kernel_name="python3",
            log_output=True,
            progress_bar=False,
        )
