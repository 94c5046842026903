import errno
import os
import shutil
from pathlib import Path

import pytest

from dansm.io.files import write_text
from dansm.io.records import check_results_folder, recorded


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A results folder with a store, by a job."""
    monkeypatch.chdir(tmp_path)
    root = Path("results")
    store = root / "data" / "digits"
    with recorded(root, "build", "digits", [store]):
        write_text(store / "array.npy", "array")
    return root


@pytest.fixture
def encode(results):
    """A job that keeps its store, as Snakemake starts it; it returns whether it was made before."""
    store = results / "data" / "latents"
    inputs = [results / "data" / "digits"]

    def encode(text, interrupted=False):
        shutil.rmtree(store, ignore_errors=True)
        with recorded(
            results, "encode", "x", [store], inputs=inputs, params={"p": text}, keeps=True
        ) as made:
            if not made:
                if interrupted:
                    raise KeyboardInterrupt
                write_text(store / "array.npy", text)
        assert (store / "array.npy").read_text() == text
        check_results_folder(results)
        return made

    return encode


def kept(results):
    return results / "encoding" / ".kept" / "encode" / "x" / "data" / "latents" / "array.npy"


def test_what_was_made_is_kept_until_something_else_is(results, encode, capsys):
    assert not encode("one") and kept(results).read_text() == "one"
    with pytest.raises(KeyboardInterrupt):
        encode("other", interrupted=True)
    assert "is kept until this is finished" in capsys.readouterr().out
    assert encode("one") and "delete that to have it made anew" in capsys.readouterr().out
    array = results / "data" / "latents" / "array.npy"
    assert array.stat().st_nlink == 2 and array.samefile(kept(results))
    assert not encode("other") and kept(results).read_text() == "other"
    # Other inputs make another store.
    with recorded(results, "build", "digits", ["results/data/digits"]):
        write_text(results / "data" / "digits" / "array.npy", "changed")
    assert not encode("other")


@pytest.mark.parametrize(
    "damage",
    [
        lambda array, record: array.write_text("0ne"),
        lambda array, record: array.unlink(),
        lambda array, record: record.write_text("null"),
        lambda array, record: record.unlink(),
    ],
)
def test_what_is_kept_and_damaged_is_made_again(results, encode, damage):
    encode("one")
    damage(kept(results), results / "encoding/.kept/encode/x/record.json")
    assert not encode("one")
    assert encode("one")


def test_what_is_kept_never_takes_room_that_the_disk_has_not(results, encode, monkeypatch, capsys):
    encode("one")
    usage = shutil.disk_usage(results)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2))
    with pytest.raises(KeyboardInterrupt):
        encode("other", interrupted=True)
    assert "is deleted: as much again is not free" in capsys.readouterr().out
    assert not kept(results).exists() and not encode("one")


def test_nothing_is_copied_to_be_kept(results, encode, monkeypatch, capsys):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    assert not encode("one") and not encode("one")
    assert "not kept (Operation not permitted)" in capsys.readouterr().out
    assert not kept(results).exists()
