"""Snakemake in processes that have imported it already, which is most of what a dry run takes."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PRELOADED = ["snakemake.cli", "snakemake.workflow", "snakemake.dag", "dansm.workflow.lookups"]
_PRELOADED += ["dansm.publish.archive", "dansm.io.records"]
_CONTEXT = multiprocessing.get_context("forkserver")


def snakemake(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in a folder; only for what starts no jobs, which would need an interpreter."""
    _CONTEXT.set_forkserver_preload(_PRELOADED)
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        process = _CONTEXT.Process(target=_main, args=(folder, list(arguments), output.name))
        process.start()
        process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read())


def _main(folder: Path, arguments: list[str], output: str) -> None:
    with open(output, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    main(arguments)
