"""What one may not read or write, as a user without root's powers over permission bits meets it."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from .test_project import ROOT

_POWERS = "-dac_override,-dac_read_search"
AS_USER = []
if os.geteuid() == 0:
    AS_USER = ["setpriv", f"--bounding-set={_POWERS}", f"--inh-caps={_POWERS}"]
ATTEMPTS = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "src")!r})
from dansm.config import ImageFolderSource
from dansm.data.sources import build_pixel_store
from dansm.errors import InputError
from dansm.io.records import check_results_folder

def build(folder, results):
    source = ImageFolderSource(kind="image_folder", folder=folder)
    build_pixel_store(source, (3, 8, 8), "", results / folder.name)

attempts = {{
    "closed": lambda: build(Path("closed"), Path("data")),
    "unreadable": lambda: build(Path("unreadable"), Path("data")),
    "results": lambda: check_results_folder(Path("results")),
    "store": lambda: build(Path("open"), Path("results")),
}}
found = {{}}
for name, attempt in attempts.items():
    try:
        found[name] = attempt()
    except InputError as error:
        found[name] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What is said of each, in one process."""
    if AS_USER and shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing")
    folder = tmp_path_factory.mktemp("permissions")
    for name in ("closed/a/0.png", "closed/b/1.png", "unreadable/0.png", "open/0.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    (folder / "results").mkdir()
    modes = {"closed/b": 0, "unreadable/0.png": 0, "results": 0o500}
    for name, mode in modes.items():
        (folder / name).chmod(mode)
    # Whether root is held to permission bits: a container may not let it give its powers up.
    if subprocess.run([*AS_USER, "ls", folder / "closed/b"], capture_output=True).returncode != 2:
        pytest.skip("setpriv may not take root's powers away")
    done = subprocess.run(
        [*AS_USER, sys.executable, "-c", ATTEMPTS], cwd=folder, capture_output=True, text=True
    )
    for name in modes:
        (folder / name).chmod(0o755)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("closed", "closed/b: expected a folder that can be read, found none (Permission denied)"),
        (
            "unreadable",
            "unreadable/0.png: expected an image, found a file that cannot be read "
            "(Permission denied)",
        ),
        (
            "results",
            "results: the results folder must be writable, found a folder without write "
            "permission: results",
        ),
        ("store", "results/open: the results folder must be writable for array-00000.npy; "
         "Permission denied"),
    ],
)  # fmt: skip
def test_what_permission_bits_refuse_is_named(told, what, expected):
    assert told[what] == expected
