"""What a number can be traced to."""

import subprocess

import pytest

from dansm.io import provenance as module
from dansm.io.provenance import provenance


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "f").write_text("x")
    subprocess.run([*git, "add", "f"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    return tmp_path


def test_the_commit_is_that_of_this_project_only(repository, monkeypatch):
    monkeypatch.setattr(module, "_PROJECT", repository)
    found = provenance()
    assert len(found["commit"]) == 40 and found["uncommitted_changes"] is False
    (repository / "f").write_text("y")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as inside a hook of another repository
    assert provenance()["uncommitted_changes"] is True
    (repository / "inside").mkdir()
    monkeypatch.setattr(module, "_PROJECT", repository / "inside")
    found = provenance()
    assert (found["commit"], found["uncommitted_changes"]) == (None, None)
