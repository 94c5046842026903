import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from dansm.config import LsunSource
from dansm.data.download import download
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError

lmdb = pytest.importorskip("lmdb")
NAME = "bedroom_train_lmdb"


def webp(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", lossless=True)
    return file.getvalue()


def write_lsun(folder, values):
    """Write values by key as LSUN's LMDB, and return the source."""
    (folder / NAME).mkdir(parents=True)
    with lmdb.open(str(folder / NAME), map_size=2**22) as env, env.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return LsunSource(kind="lsun", folder=folder, category="bedroom_train")


@pytest.fixture
def rooms():
    return np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def source(tmp_path, rooms):
    # Not written in the order of the keys, which is the order of reading.
    values = {f"room-{k}": webp(rooms[k]) for k in (2, 0, 1)}
    return write_lsun(tmp_path / "lsun", values)


def build(source, path, shape=(3, 16, 16), workers=1):
    build_pixel_store(source, shape, "", path, workers)
    return open_store(path)


@pytest.fixture
def zipped(source):
    """Return the source with its LMDB zipped as published, and the zip."""
    folder = source.folder / NAME
    archive = source.folder / f"{NAME}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for path in sorted(folder.iterdir()):
            content.write(path, f"{NAME}/{path.name}")
            path.unlink()
    folder.rmdir()
    return source, archive


@pytest.mark.parametrize("workers", [1, 3])
def test_images_are_read_in_the_order_of_keys(tmp_path, source, rooms, workers):
    store = build(source, tmp_path / "all", workers=workers)
    np.testing.assert_array_equal(store.array, rooms.transpose(0, 3, 1, 2))
    assert store.labels is None and "LSUN bedroom_train, first 3" in store.meta["source"]


def test_a_count_takes_the_first(tmp_path, source, rooms):
    store = build(source.model_copy(update={"count": 2}), tmp_path / "few", (3, 8, 8))
    assert store.array.shape == (2, 3, 8, 8)
    for stored, room in zip(store.array, rooms, strict=False):
        expected = Image.fromarray(room).resize((8, 8), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(stored, np.asarray(expected).transpose(2, 0, 1))
    with pytest.raises(InputError, match="expected 4 images, found 3") as caught:
        build(source.model_copy(update={"count": 4}), tmp_path / "many")
    assert str(source.folder / NAME) in str(caught.value)
    assert not (tmp_path / "many").exists()


def test_the_zip_downloaded_in_pieces_becomes_a_store(tmp_path, zipped, rooms, file_server):
    source, archive = zipped
    content = archive.read_bytes()
    archive.unlink()
    file_server.files[f"/{archive.name}"] = content
    file_server.faults.extend(np.random.default_rng(2).integers(1, len(content) // 5, 5).tolist())
    download(archive, [file_server.address(archive.name)], pause=0)
    assert len(file_server.requests) == 6 and archive.read_bytes() == content
    store = build(source, tmp_path / "store")
    np.testing.assert_array_equal(store.array, rooms.transpose(0, 3, 1, 2))


def test_the_zip_is_unpacked_once(tmp_path, zipped):
    source, archive = zipped
    build(source, tmp_path / "first")
    database = source.folder / NAME / "data.mdb"
    assert {p.name for p in database.parent.iterdir()} == {"data.mdb", ".data.mdb.lock"}
    archive.unlink()
    build(source, tmp_path / "second")


def test_a_damaged_zip_is_named_and_leaves_nothing(tmp_path, zipped):
    source, archive = zipped
    whole = archive.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 4
    for content in (whole[:-500], b"<html>", bytes(flipped)):
        archive.write_bytes(content)
        with pytest.raises(InputError, match=f"^{archive}: expected {NAME}/data.mdb in a zip"):
            build(source, tmp_path / "store")
        assert [p.name for p in (source.folder / NAME).iterdir()] == [".data.mdb.lock"]
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("another.txt", "")
    with pytest.raises(InputError, match="no item named"):
        build(source, tmp_path / "store")


def test_a_disk_without_room_for_the_lmdb_is_named(tmp_path, zipped, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("dansm.io.files.shutil.disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(InputError, match=r"data\.mdb: expected .* GiB of free disk"):
        build(zipped[0], tmp_path / "store")
    assert not (zipped[0].folder / NAME / "data.mdb").exists()


def test_what_is_missing_is_named(tmp_path):
    source = LsunSource(kind="lsun", folder=tmp_path, category="bedroom_train")
    with pytest.raises(InputError, match=rf"^{tmp_path}: expected {NAME}\.zip or {NAME}/data\.mdb"):
        build(source, tmp_path / "store")


def test_a_corrupt_value_is_named_by_its_key(tmp_path, rooms):
    values = {f"room-{k}": webp(room) for k, room in enumerate(rooms)}
    for name, value in {
        "half": values["room-1"][: len(values["room-1"]) // 2],
        "empty": b"",
        "noise": bytes(range(256)),
    }.items():
        source = write_lsun(tmp_path / name, values | {"room-1": value})
        with pytest.raises(InputError) as caught:
            build(source, tmp_path / "store", workers=2)
        assert str(caught.value).startswith(
            f"{source.folder / NAME}, key room-1: expected an image, found {len(value)} bytes"
        )
        assert not (tmp_path / "store" / "array.npy").exists()


def test_an_image_smaller_than_the_crop_is_named_by_its_key(tmp_path, rooms):
    source = write_lsun(tmp_path / "lsun", {"a": webp(rooms[0]), "b": webp(rooms[1][:12])})
    with pytest.raises(InputError, match=r"key b: expected .* at least 16×16 .*, found 12×16"):
        build(source, tmp_path / "store")


def test_a_damaged_lmdb_is_named(tmp_path, source):
    path = source.folder / NAME / "data.mdb"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192])
    with pytest.raises(InputError, match=rf"{path}: expected \d+ bytes, found 8192"):
        build(source, tmp_path / "store")
    path.write_bytes(b"\0" * len(whole))
    with pytest.raises(InputError, match=f"{path.parent}: expected an LMDB, found"):
        build(source, tmp_path / "store")


def test_an_lmdb_without_images_is_named(tmp_path):
    source = write_lsun(tmp_path / "lsun", {})
    with pytest.raises(InputError, match="expected some images, found 0"):
        build(source, tmp_path / "store")


def test_two_folders_that_differ_by_a_digit_are_not_mixed_up(tmp_path, rooms):
    for k, folder in enumerate(("lsun1", "lsun2")):
        source = write_lsun(tmp_path / folder, {"a": webp(rooms[k])})
        store = build(source, tmp_path / f"store of {folder}")
        np.testing.assert_array_equal(store.array[0], rooms[k].transpose(2, 0, 1))


def test_reading_leaves_no_file_in_the_current_folder(tmp_path, source, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    build(source, tmp_path / "store")
    assert list((tmp_path / "here").iterdir()) == []
