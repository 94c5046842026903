"""Execute a figure's notebook with papermill; it writes the PDF and the PNG itself.

Its parameters are the rule's inputs and params by their names, and `output`, the figure's path
without ending.
"""

from pathlib import Path

import papermill

from dansm.io.files import atomic_path
from dansm.workflow.jobs import job

with job(snakemake):
    inputs = {name: str(path) for name, path in snakemake.input.items() if name != "notebook"}
    with atomic_path(Path(snakemake.output.notebook)) as partial:
        papermill.execute_notebook(
            snakemake.input.notebook,
            partial,
            parameters={
                **inputs,
                **dict(snakemake.params.items()),
                "output": str(Path(snakemake.output.pdf).with_suffix("")),
            },
            kernel_name="python3",
            log_output=True,
            progress_bar=False,
        )
