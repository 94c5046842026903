"""When the environment is made."""

import shutil
import subprocess

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
