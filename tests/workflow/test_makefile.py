"""When the environment is made."""

import os
import shutil
import subprocess
import sys
import zipfile

from .conftest import ROOT


def steps(folder):
    """Return what make would do for the environment."""
    command = ["make", "--dry-run", ".venv/installed"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_an_environment_is_made_where_there_is_none_or_one_from_elsewhere(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    installed = tmp_path / ".venv" / "installed"
    assert "-m venv --clear .venv" in steps(tmp_path)
    installed.write_text("/elsewhere\n")
    assert "-m venv --clear .venv" in steps(tmp_path)
    installed.write_text(f"{tmp_path}\n")
    assert "up to date" in steps(tmp_path)


PIP = """
[global]
require-hashes = true
no-binary = :all:
[install]
target = {folder}/elsewhere
prefix = {folder}/elsewhere
root = {folder}/elsewhere
user = true
"""


def test_settings_of_the_users_pip_for_other_folders_do_not_reach_the_environment(tmp_path):
    """While where it finds packages does; uv is a script here that says what it was asked for."""
    project, info = tmp_path / "project", "uv-1.dist-info"
    project.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    (project / "src").mkdir()
    with zipfile.ZipFile(tmp_path / "uv-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("uv.py", "def main():\n    import sys\n    print('uv', *sys.argv[1:])\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nuv = uv:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / "pip.conf").write_text(PIP.format(folder=tmp_path))
    own = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PYTHON": sys.executable}
    own |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_USER": "1"}
    own |= {"PIP_TARGET": str(tmp_path / "elsewhere"), "PIP_PYTHON": "/dev/null"}
    done = subprocess.run(
        ["make", ".venv/installed"],
        cwd=project,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("uv pip install") == 2
    assert (project / ".venv/installed").read_text() == f"{project}\n"
    assert not (tmp_path / "elsewhere").exists()
