"""What a number can be traced to."""

import subprocess

import pytest

from dansm.io import provenance as module
from dansm.io.provenance import provenance


@pytest.fixture(params=["project", "a project", "caf\udce9"])
def repository(request, tmp_path):
    """A repository with one commit, in a folder of a usual name or another."""
    folder = tmp_path / request.param
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / "f").write_text("x")
    subprocess.run([*git, "add", "f"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    return folder


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


def test_without_git_nothing_is_known(repository, monkeypatch):
    monkeypatch.setattr(module, "_PROJECT", repository)
    monkeypatch.setenv("PATH", "")
    found = provenance()
    assert (found["commit"], found["uncommitted_changes"]) == (None, None)
