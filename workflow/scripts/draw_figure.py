"""Execute a figure's notebook with papermill; it writes the PDF and the PNG itself."""

from pathlib import Path

from dansm.figures.notebooks import execute_notebook, read_notebooks
from dansm.workflow.jobs import job

with job(snakemake):
    path = Path(snakemake.input.notebook)
    notebook = read_notebooks(path.parent)[path.stem]
    parameters = {
        name: str(snakemake.input.get(name, "")) for name in (*notebook.tables, *notebook.optional)
    }
    if snakemake.params.subject:
        parameters["subject"] = snakemake.params.subject
    if notebook.reference:
        parameters["reference"] = snakemake.params.reference
    if notebook.samples:
        parameters["samples"] = snakemake.params.samples
    parameters["output"] = str(Path(snakemake.output.pdf).with_suffix(""))
    execute_notebook(path, Path(snakemake.output.notebook), parameters)
