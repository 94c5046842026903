import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from dansm.errors import InputError
from dansm.io.files import (
    atomic_path,
    check_free_space,
    locked,
    publish,
    publish_partial,
    read_json,
    sha256,
    write_json,
    write_text,
)


def everything(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_sha256_is_hashlibs(tmp_path):
    content = bytes(range(256)) * 1000
    (tmp_path / "f").write_bytes(content)
    assert sha256(tmp_path / "f") == hashlib.sha256(content).hexdigest()


def test_atomic_path_shows_the_file_only_when_complete(tmp_path):
    target = tmp_path / "new" / "t.csv"
    with atomic_path(target) as partial:
        partial.write_text("a,b\n")
        assert not target.exists()
        assert partial.parent == target.parent and partial.suffix == ".csv"
    assert target.read_text() == "a,b\n"
    assert everything(tmp_path) == ["new/t.csv"]


@pytest.mark.parametrize("old", [None, "old"])
def test_atomic_path_leaves_nothing_behind_on_an_exception(tmp_path, old):
    target = tmp_path / "t.csv"
    if old is not None:
        write_text(target, old)
    before = {name: (tmp_path / name).read_bytes() for name in everything(tmp_path)}
    with pytest.raises(RuntimeError, match="stop"), atomic_path(target) as partial:
        partial.write_text("half")
        raise RuntimeError("stop")
    assert {name: (tmp_path / name).read_bytes() for name in everything(tmp_path)} == before


def test_atomic_path_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "below"
    with (
        pytest.raises(InputError, match="must be writable") as caught,
        atomic_path(folder / "t.csv"),
    ):
        pytest.fail("the block must not run")
    assert str(folder) in str(caught.value)


def test_json_round_trip_is_sorted_and_checked(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"ü": "é"}}
    write_json(tmp_path / "c.json", content)
    assert read_json(tmp_path / "c.json") == content
    text = (tmp_path / "c.json").read_text()
    assert text == json.dumps(content, indent=2, sort_keys=True) + "\n"


@pytest.mark.parametrize(
    ("content", "found"), [(None, "found none"), ("{", "expected valid JSON, found")]
)
def test_read_json_names_what_is_wrong(tmp_path, content, found):
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=found) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path):
    code = f"""
import os
from pathlib import Path
from dansm.io.files import atomic_path
with atomic_path(Path({str(tmp_path)!r}) / "[t].csv") as partial:
    partial.write_text("half")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code])
    (left,) = everything(tmp_path)
    assert left.endswith(".partial.csv")
    with atomic_path(tmp_path / "other.csv") as other:
        write_text(tmp_path / "[t].csv", "whole")
        assert everything(tmp_path) == [other.name, "[t].csv"]


@pytest.mark.parametrize("links", [True, False])
def test_publish_gives_a_second_name(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "a.csv", tmp_path / "figures" / "copy.csv"
    write_text(source, "content")
    for _ in range(2):  # the second time it replaces the first
        publish(source, target)
    assert target.read_text() == "content"
    assert target.samefile(source) == links
    assert everything(tmp_path) == ["a.csv", "figures/copy.csv"]


def test_a_locked_file_keeps_others_waiting(tmp_path):
    path = tmp_path / "new" / "f"
    seen = []

    def other():
        with locked(path):
            seen.append(path.read_text())

    with locked(path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        path.write_text("done")
    thread.join()
    assert seen == ["done"]


def test_a_lock_in_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=f"{tmp_path}/file/new: expected a folder in which f can"),
        locked(tmp_path / "file" / "new" / "f"),
    ):
        pytest.fail("the block must not run")


def test_a_partial_file_gets_its_name(tmp_path):
    (tmp_path / ".f.partial").write_text("new")
    (tmp_path / "f").write_text("old")
    publish_partial(tmp_path / ".f.partial", tmp_path / "f")
    assert everything(tmp_path) == ["f"] and (tmp_path / "f").read_text() == "new"


def test_free_space_is_compared_with_the_disks(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=3 * 2**30)
    monkeypatch.setattr("dansm.io.files.shutil.disk_usage", lambda path: free)
    check_free_space(tmp_path, 3 * 2**30, tmp_path / "f")
    with pytest.raises(InputError) as caught:
        check_free_space(tmp_path, 7 * 2**29, tmp_path / "f")
    assert str(caught.value) == (
        f"{tmp_path / 'f'}: expected 3.50 GiB of free disk for it, "
        f"found 3.00 GiB on that of {tmp_path}"
    )


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "t.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("there/t.csv")
    (tmp_path / "loose.csv").symlink_to("there/new.csv")
    for name in ("link.csv", "loose.csv"):
        write_text(tmp_path / name, "new")
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_text() == "new"
    assert everything(tmp_path) == ["link.csv", "loose.csv", "there/new.csv", "there/t.csv"]


def make_device(path):
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # what /dev/null is
    except PermissionError:
        pytest.skip("only root makes devices")


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: path.mkdir(), "a folder"),
        (os.mkfifo, "a device or pipe"),
        (lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")), "a device"),
        (lambda path: path.symlink_to("."), "a folder"),
        (make_device, "a device or pipe"),
    ],
    ids=["folder", "pipe", "link to a pipe", "link to a folder", "device"],
)
def test_what_is_no_file_is_not_replaced(tmp_path, make, found):
    path = tmp_path / "t.csv"
    make(path)
    kind = stat.S_IFMT(path.lstat().st_mode)
    with pytest.raises(InputError, match=f"^{tmp_path}.*: expected the name") as caught:
        write_text(path, "new")
    assert f"expected the name of a file to write, found {found}" in str(caught.value)
    assert stat.S_IFMT(path.lstat().st_mode) == kind
    assert not any(one.is_file() for one in tmp_path.iterdir())


def test_a_name_too_long_is_one_line(tmp_path):
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("x" * 300), "new")


def full(kind):
    """Raise what safetensors does, which replaces a device by a file when it writes to one."""
    raise kind("Error while serializing: I/O error: No space left on device (os error 28)")


def fill(writer):
    """Write to a disk that is full."""
    with open("/dev/full", "wb") as file:
        writer(file)


@pytest.mark.parametrize(
    "writer",
    [
        lambda file: file.write(b"x" * 10**6),
        lambda file: torch.save({"a": torch.zeros(10**5)}, file),
        lambda file: np.save(file, np.zeros(10**5)),
        lambda file: np.savez(file, a=np.zeros(10**5)),
        lambda file: full(SafetensorError),
        lambda file: pd.DataFrame({"a": range(10**5)}).to_csv(file),
    ],
    ids=["file", "torch", "npy", "npz", "safetensors", "csv"],
)
def test_a_full_disk_is_one_line_with_its_name(tmp_path, writer):
    path = tmp_path / "t"
    with (
        pytest.raises(InputError, match=rf"^{path}: expected room on the disk /\S*, found none"),
        atomic_path(path),
    ):
        fill(writer)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_the_work_goes_on(tmp_path, monkeypatch, capsys, number):
    def no_locks(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("dansm.io.files.fcntl.flock", no_locks)
    with locked(tmp_path / "f"):
        (tmp_path / "f").write_text("done")
    expected = f"f.lock: no protection against a second job ({os.strerror(number)})"
    assert expected in capsys.readouterr().out


def test_a_lock_that_another_has_can_be_refused(tmp_path):
    found = f"^{tmp_path}/f: expected no other job to be making it, found process {os.getpid()} on"
    with (
        locked(tmp_path / "f"),
        pytest.raises(InputError, match=found),
        locked(tmp_path / "f", wait=False),
    ):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("content", ["[" * 10**5, "{", "\udcff", "nul"])
def test_what_is_no_json_is_named(tmp_path, content):
    path = tmp_path / "f.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=f"^{path}: expected valid JSON, found"):
        read_json(path)
