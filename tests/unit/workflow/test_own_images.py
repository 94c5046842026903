"""Exchanged images are told from those that a store was built of, and dates make no difference."""

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest

from dansm.config import parse_config, read_yaml
from dansm.data.sources.images import ENDINGS
from dansm.io.files import write_text
from dansm.io.records import recorded
from dansm.workflow.data_lookups import _ENDINGS, DataLookups
from dansm.workflow.own_images import OwnImages, sampled_sha256

from ..test_project import ROOT

VALID = ROOT / "tests/unit/config/valid.yaml"


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Images in a folder, of which a store was built; the function builds it again."""
    monkeypatch.chdir(tmp_path)
    folder, results = tmp_path / "flowers", tmp_path / "results"
    for name in ("0.png", "1.png", "red/2.png"):
        write_text(folder / name, name)

    def build(count=None):
        own = OwnImages(
            folder,
            (".png",),
            count,
            results / "jobs" / "build_dataset" / "flowers.json",
            results / "data" / ".flowers.images.json",
        )
        source = {"images": own.identity()}
        with recorded(
            results, "build_dataset", "flowers", [], params={"settings": {"source": source}}
        ):
            own.note()
        return own

    return build


def exchange(folder):
    shutil.copyfile(folder / "red/2.png", folder / "red/3.png")
    (folder / "red/3.png").replace(folder / "0.png")


def same_size(folder):
    write_text(folder / "0.png", "9.png")


def date_kept(folder):
    """Content of the same size, with the date of a file that was made before."""
    same_size(folder)
    os.utime(folder / "0.png", (1, 1))


CHANGES = [
    exchange,
    same_size,
    date_kept,
    lambda folder: write_text(folder / "new/4.png", "4"),
    lambda folder: (folder / "1.png").unlink(),
    lambda folder: (folder / "1.png").rename(folder / "7.png"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_other_images_are_another_source_until_their_store_is_built(build, change):
    own = build()
    before = own.identity()
    change(own.folder)
    changed = own.identity()
    assert changed != before and own.identity() == changed
    assert build().identity() == changed


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: os.utime(folder / "0.png"),
        lambda folder: os.utime(folder / "0.png", (1, 1)),
        lambda folder: write_text(folder / "README.txt", "mine"),
        lambda folder: write_text(folder / ".hidden" / "a.png", "mine"),
        lambda folder: os.symlink(folder, folder / "red" / "itself"),
        lambda folder: (shutil.copytree(folder, f"{folder}2", copy_function=shutil.copyfile),
                        shutil.rmtree(folder), shutil.move(f"{folder}2", folder)),
        lambda folder: folder.rename(f"{folder}-elsewhere"),
    ],
)  # fmt: skip
def test_dates_and_what_is_no_image_make_no_other_source(build, change):
    own = build()
    before = own.identity()
    change(own.folder)
    assert own.identity() == before
    assert own.identity() == before  # of dates that were noted anew


def test_content_that_was_changed_back_is_the_same_source(build):
    own = build()
    before = own.identity()
    same_size(own.folder)
    assert own.identity() != before
    write_text(own.folder / "0.png", "0.png")
    assert own.identity() == before


def test_images_beyond_the_count_make_no_difference(build):
    own = build(count=2)
    before = own.identity()
    write_text(own.folder / "red/2.png", "other")
    write_text(own.folder / "red/3.png", "new")
    assert own.identity() == before


def test_a_store_from_before_images_were_noted_is_not_built_again(build):
    own = build()
    text = own.record.read_text()
    with recorded(own.record.parents[2], "build_dataset", "flowers", [],
                  params={"settings": {"source": {"kind": "image_folder"}}}):  # fmt: skip
        pass
    assert own.identity() is None and own.record.read_text() != text


def test_images_whose_notes_were_lost_are_told_by_names_and_sizes(build):
    own = build()
    before = own.identity()
    own.notes.unlink()
    assert own.identity() == before


def test_what_cannot_be_read_is_left_to_the_job(build):
    own = build()
    before = own.identity()
    os.utime(own.folder / "0.png")

    def refuse(path):
        raise PermissionError(path)

    assert dataclasses.replace(own, digest=refuse).identity() != before


def test_names_need_not_be_utf8(build):
    own = build()
    open(os.path.join(os.fsencode(own.folder), b"caf\xe9.png"), "w").close()
    changed = own.identity()
    assert build().identity() == changed


def test_every_ending_of_an_image_counts():
    assert set(_ENDINGS["image_folder"]) >= ENDINGS


def write_lmdb(folder, seed):
    """Write 40 values of fixed sizes, as an LMDB of the same size whatever the seed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    with lmdb.open(str(folder), map_size=2**22) as env, env.begin(write=True) as transaction:
        for k in range(40):
            transaction.put(f"{k:040d}".encode(), rng.bytes(5000))


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """An LMDB without a zip, of which a store was built; what is told of it, and a new build."""
    monkeypatch.chdir(tmp_path)
    config = parse_config(read_yaml(VALID))
    folder = tmp_path / "x" / "bedroom_train_lmdb"
    write_lmdb(folder, 0)

    def told():
        return DataLookups(config).image_settings(SimpleNamespace(dataset="rooms"))

    def build():
        settings = told()
        with recorded(Path("results"), "build_dataset", "rooms", [], params={"settings": settings}):
            DataLookups(config).own_images("rooms").note()

    build()
    return folder, told, build


@pytest.mark.parametrize("date_kept", [False, True])
def test_an_exchanged_lmdb_is_another_source(rooms, date_kept):
    folder, told, build = rooms
    before, stat = told(), (folder / "data.mdb").stat()
    write_lmdb(folder, 1)
    assert (folder / "data.mdb").stat().st_size == stat.st_size
    if date_kept:  # but to the nanosecond, as a copy of another file has it
        os.utime(folder / "data.mdb", ns=(1, stat.st_mtime_ns - 1))
    changed = told()
    assert changed != before and told() == changed
    build()
    assert told() == changed


def test_an_lmdb_that_was_copied_or_read_is_the_same_source(rooms):
    folder, told, _ = rooms
    before = told()
    shutil.copyfile(folder / "data.mdb", folder / "copy")
    (folder / "copy").replace(folder / "data.mdb")
    with lmdb.open(str(folder), readonly=True) as env, env.begin():  # which writes lock.mdb
        pass
    assert (folder / "lock.mdb").exists() and told() == before


def test_an_lmdb_unpacked_from_its_zip_is_the_downloads_affair(rooms):
    folder, told, _ = rooms
    before = told()
    shutil.rmtree("results")
    (folder.parent / "bedroom_train_lmdb.zip").touch()
    assert "images" in before["source"]
    of_zip = told()
    assert "images" not in of_zip["source"]
    # Nor is it another when the zip has been deleted for its room.
    with recorded(Path("results"), "build_dataset", "rooms", [], params={"settings": of_zip}):
        pass
    (folder.parent / "bedroom_train_lmdb.zip").unlink()
    assert told() == of_zip


def test_a_large_file_is_sampled(tmp_path):
    path = tmp_path / "data.mdb"
    with open(path, "wb") as file:
        file.truncate(2**36)
    before = sampled_sha256(path)
    for place in (0, (2**36 - 2**16) // 3, 2**36 - 1):
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"x")
        assert sampled_sha256(path) != before, place
        before = sampled_sha256(path)
