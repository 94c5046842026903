"""What every job of the workflow does around its library call."""

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dansm.errors import InputError, TrainingError


@contextmanager
def job(snakemake: Any) -> Iterator[None]:
    """Run a script's work with its output in the rule's log file and the rule's thread count.

    Errors that a user can act on end the job with one line in the log; others with a traceback.

    Parameters
    ----------
    snakemake
        The object that Snakemake gives to a script.
    """
    log = Path(snakemake.log[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    # Appended to, since a resumed job's first part is worth keeping. The descriptors themselves
    # are redirected, so that messages of libraries and child processes arrive there too.
    with open(log, "a", encoding="utf-8", buffering=1) as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    print(f"{now} {snakemake.rule} {dict(snakemake.wildcards)}", flush=True)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(snakemake.threads)
    try:
        yield
    except (InputError, TrainingError) as error:
        print(f"error: {error}", flush=True)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
