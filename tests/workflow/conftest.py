"""A copy of the project, and Snakemake run in it as a user would."""

import functools
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dansm.config import Config, parse_config, read_yaml
from dansm.workflow.dry_run import Job, parse_jobs

sys.path.insert(0, str(Path(__file__).parent))  # from where forked processes import it, too
from warm_snakemake import snakemake as warm_snakemake

ROOT = Path(__file__).parents[2]
_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".snakemake", "results", "resources", "__pycache__", ".*_cache", ".whl"
)
_NO_JOBS = {"--dry-run", "-n", "--lint"}


class Project:
    """A copy of the project's files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT, folder, ignore=_LEFT_BEHIND)
        self.folder = folder
        self.config = folder / "config" / "config.yaml"
        self.has_own_library = False

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *arguments]

    def environment(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("SNAKEMAKE_PROFILE")}

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if _NO_JOBS & set(arguments) and not self.has_own_library:
            return warm_snakemake(self.folder, arguments)
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

    def dry_run(self, *arguments: str) -> str:
        return self.succeeds("--dry-run", "--quiet", "host", "--cores", "1000", *arguments)

    def jobs(self, *arguments: str) -> list[Job]:
        """Return the jobs that a dry run plans."""
        return parse_jobs(self.dry_run(*arguments))

    def planned(self, *arguments: str) -> dict[str, int]:
        """Return how many jobs a dry run plans, by rule."""
        return dict(Counter(job.rule for job in self.jobs(*arguments)))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new))
        self.has_own_library |= file.startswith("src/")

    def edit_config(self, old: str, new: str) -> None:
        self.edit("config/config.yaml", old, new)

    def parsed_config(self, **changes: str) -> Config:
        return parse_config(read_yaml(self.config) | changes)


class Shipped(Project):
    """The project as it is, to look at only: each dry run is made once."""

    @functools.cache  # noqa: B019
    def dry_run(self, *arguments: str) -> str:
        return super().dry_run(*arguments)


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh copy of the project, in a folder whose name shells and others could take apart."""
    return Project(tmp_path / 'Zoë\'s "project" #1 & $HOME')


@pytest.fixture(scope="session")
def shipped(tmp_path_factory) -> Shipped:
    """A copy that no test changes."""
    return Shipped(tmp_path_factory.mktemp("shipped") / "project")
