# The configuration, the folder of results, and the names that wildcards may have. What rules ask of
# the configuration are methods of `dansm.workflow.lookups.Lookups`, as `look.NAME`.

import functools
import inspect
import os
import sys
from pathlib import Path
from types import SimpleNamespace

# The workflow and its jobs use this checkout's library, whatever else is installed.
PROJECT = Path(workflow.basedir).parent
LIBRARY = str(PROJECT / "src")
sys.path.insert(0, LIBRARY)
os.environ.update(
    PYTHONPATH=os.pathsep.join([LIBRARY, os.getenv("PYTHONPATH", "")]).rstrip(os.pathsep)
)

# Also where --directory names another folder, which then holds the configuration and the results.
NOTEBOOKS = "notebooks" if Path("notebooks").is_dir() else str(PROJECT / "notebooks")

from snakemake.exceptions import WorkflowError

from dansm.catalogue import EXTRACTORS, GRIDS
from dansm.config import PARTS, parse_config, read_yaml
from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks
from dansm.io.records import check_results_folder
from dansm.publish.archive import archived_path
from dansm.workflow.data_lookups import DOWNLOADS
from dansm.workflow.dates import settle_dates
from dansm.workflow.jobs import check_checkout
from dansm.workflow.lookups import Lookups


def in_one_line(value):
    """A function, or a dictionary of such, whose errors Snakemake shows without a traceback."""
    if isinstance(value, dict):
        return {name: in_one_line(function) for name, function in value.items()}
    if not callable(value):
        return value

    @functools.wraps(value)
    def function(*arguments, **options):
        try:
            return in_one_line(value(*arguments, **options))
        except InputError as error:
            raise WorkflowError(str(error)) from None

    # Snakemake asks for it thousands of times, and looks it up only if it is not here.
    function.__signature__ = inspect.signature(value)
    return function


MAIN = "config/config.yaml"
# Before Snakemake does, which shows a traceback of what is no YAML.
MAIN_CONTENT = in_one_line(read_yaml)(Path(MAIN))


configfile: MAIN


def read_configuration():
    check_checkout(PROJECT)
    files = {MAIN: MAIN_CONTENT}
    for path in map(os.path.relpath, workflow.configfiles):
        files[path] = files.get(path) or read_yaml(Path(path))
    found = parse_config(config, MAIN, files)
    # Not again in each job of a cluster, two of whose processes come here.
    if workflow.is_main_process:
        settle_dates(check_results_folder(Path(found.results)))
    return Lookups(found, read_notebooks(Path(NOTEBOOKS)))


LOOKUPS = in_one_line(read_configuration)()
CONFIG = LOOKUPS.config
RESULTS = CONFIG.results
look = SimpleNamespace(
    **{name: in_one_line(getattr(LOOKUPS, name)) for name in dir(LOOKUPS) if name[0] != "_"}
)

RUN = "{dataset}/{run}/seed{seed}"
PAIRS = "{dataset}/{teacher}/seed{seed}/{pairs}"
NAME = "[a-z][a-z0-9_]*"
ENVIRONMENT = "../envs/dansm.yml"
# What most jobs ask for: a table, a figure, a few seconds.
SMALL = {"mem_mb": 2000, "runtime": 30, "gpu": 0}


def archived_file(wildcards):
    return in_one_line(archived_path)(wildcards.file)


def plan_options():
    """The configuration of this call, for the command that it makes."""
    base = Path(MAIN).resolve()
    more = [path for path in workflow.configfiles if Path(path).resolve() != base]
    options = [f"--configfile={path}" for path in more]
    return options + ([f"--scale={CONFIG.scale}"] if CONFIG.scale else [])


def one_of(names):
    """The pattern of a wildcard that is one of some names; without any, it matches nothing."""
    return "|".join(sorted(names, key=len, reverse=True)) or "(?!)"


wildcard_constraints:
    dataset=NAME,
    run=NAME,
    seed="0|[1-9][0-9]*",
    comparison=NAME,
    teacher=NAME,
    pairs="[a-z][a-z0-9_-]*",
    potentials="[a-z][a-z0-9_.-]*",
    autoencoder=one_of(CONFIG.autoencoders),
    extractor=one_of(EXTRACTORS),
    figure=one_of(LOOKUPS.notebooks),
    subject=f"(_{NAME})?",
