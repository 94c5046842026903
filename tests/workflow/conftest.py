"""A copy of the project, and Snakemake run in it as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".snakemake", "results", "resources", "__pycache__", ".*_cache", ".whl"
)


class Project:
    """A copy of the project's files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT, folder, ignore=_LEFT_BEHIND)
        self.folder = folder
        self.config = folder / "config" / "config.yaml"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments]

    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_PROFILE")}

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(*self.command(*arguments)[1:])

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project's folder, with the project's own library."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment() | {"PYTHONPATH": str(self.folder / "src")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def succeeds(self, *arguments: str) -> str:
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def fails(self, *arguments: str) -> str:
        done = self.snakemake(*arguments)
        assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return the jobs that a dry run plans, by rule."""
        output = self.succeeds(*arguments, "--dry-run", "--quiet", "host")
        if "Job stats:" not in output:
            assert "Nothing to be done" in output, output[-3000:]
            return {}
        table = output.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
        jobs = {rule: int(count) for rule, count in (line.split() for line in table)}
        del jobs["total"]
        return jobs

    def edit_config(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the config"
        self.config.write_text(text.replace(old, new))


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh copy of the project."""
    return Project(tmp_path / "project")
