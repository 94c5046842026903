import errno
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dansm.config import ImageFolderSource
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError
from dansm.io.files import read_json


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "photos"


def paint(folder, *paths, mode="RGB", size=(8, 8)):
    """Save images of one value each, 10 for the first, 20 for the second …"""
    for k, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        colour = 10 * (k + 1)
        bands = len(Image.new(mode, (1, 1)).getbands())
        Image.new(mode, size, (colour,) * bands if bands > 1 else colour).save(folder / path)


def build(folder, workers=1, shape=(3, 8, 8), **options):
    source = ImageFolderSource(kind="image_folder", folder=folder, **options)
    build_pixel_store(source, shape, "", folder.parent / "store", workers)
    return open_store(folder.parent / "store")


@pytest.mark.parametrize("workers", [1, 4])
def test_first_level_folders_are_classes(folder, workers):
    paint(folder, "dogs/b.png", "cats/z/1.png", "cats/a.png", "dogs/A.PNG")
    store = build(folder, workers)
    # cats/a, cats/z/1, dogs/A, dogs/b
    assert store.array[:, 0, 0, 0].tolist() == [30, 20, 40, 10]
    assert store.labels.tolist() == [0, 0, 1, 1]
    assert read_json(store.path / "classes.json") == ["cats", "dogs"]
    assert str(folder) in store.meta["source"]


def test_images_without_folders_have_no_labels(folder):
    paint(folder, "b.png", "a.png")
    store = build(folder)
    assert store.array[:, 0, 0, 0].tolist() == [20, 10] and store.labels is None
    assert not (store.path / "classes.json").exists()


def test_folders_need_not_be_classes(folder):
    paint(folder, "00000/1.png", "01000/2.png", "0.png")
    store = build(folder, labels=False)
    assert store.array[:, 0, 0, 0].tolist() == [30, 10, 20] and store.labels is None
    with pytest.raises(InputError, match=r"found 1 beside the folders, 0\.png for one"):
        build(folder)


def test_a_count_takes_the_first(folder):
    paint(folder, "b/2.png", "a/1.png", "a/2.png")
    store = build(folder, count=2)
    assert store.array[:, 0, 0, 0].tolist() == [20, 30] and store.labels.tolist() == [0, 0]
    with pytest.raises(InputError, match=f"{folder}: expected 4 images, found 3"):
        build(folder, count=4)


def test_of_each_class_the_first_can_be_taken(folder):
    paint(folder, "b/3.png", "b/1.png", "b/2.png", "a/2.png", "a/1.png")
    store = build(folder, per_class=2)
    assert store.array[:, 0, 0, 0].tolist() == [50, 40, 20, 30]
    assert store.labels.tolist() == [0, 0, 1, 1]
    assert len(build(folder, per_class=2, at_most=3)) == 3
    with pytest.raises(InputError, match=f"^{folder}/a: expected 3 images, found 2$"):
        build(folder, per_class=3)


def test_without_folders_there_is_no_first_of_each_class(folder):
    paint(folder, "1.png", "2.png")
    with pytest.raises(InputError, match=f"^{folder}: expected 1 images of each class in .*folder"):
        build(folder, per_class=1)


def test_too_few_images_for_distances_are_refused_before_they_are_read(folder):
    paint(folder, *(f"{k}.png" for k in range(5)))
    (folder / "0.png").write_bytes(b"damaged")
    source = ImageFolderSource(kind="image_folder", folder=folder, labels=False)
    with pytest.raises(InputError) as caught:
        build_pixel_store(source, (3, 8, 8), "", folder.parent / "flowers", least=8)
    expected = "flowers: expected at least 8 images for its distances, found 5"
    assert str(caught.value) == expected


def test_a_reduced_scale_takes_what_there_is_up_to_its_bound(folder):
    paint(folder, *(f"{k}.png" for k in range(3)))
    assert [len(build(folder, labels=False, at_most=most)) for most in (2, 20)] == [2, 3]


def test_links_are_followed_and_hidden_files_are_not_images(folder, tmp_path, capsys):
    paint(tmp_path / "elsewhere", "1.png", "2.png")
    paint(folder, "birds/._3.png", "birds/.cache/4.png", "birds/5.png")
    (folder / "cats").symlink_to(tmp_path / "elsewhere")
    (folder / "birds" / "README.txt").write_text("birds")
    store = build(folder)
    assert store.array[:, 0, 0, 0].tolist() == [30, 10, 20] and store.labels.tolist() == [0, 1, 1]
    expected = f"{folder}: 1 files are no images, by their endings (.txt), birds/README.txt for one"
    assert expected in capsys.readouterr().out


def test_sizes_and_modes_may_be_mixed(folder):
    modes = {"a.png": "L", "b.png": "RGBA", "c.jpg": "CMYK", "d.gif": "P", "e.tif": "RGB"}
    for k, (name, mode) in enumerate(modes.items()):
        paint(folder, name, mode=mode, size=(8 + 3 * k, 20 - 3 * k))
    assert build(folder).array.shape == (5, 3, 8, 8)
    assert build(folder, shape=(1, 4, 6)).array.shape == (5, 1, 4, 6)


@pytest.mark.parametrize("workers", [1, 4])
def test_a_bad_file_is_named_and_leaves_no_store(folder, workers):
    paint(folder, *(f"{k}.png" for k in range(9)))
    whole = (folder / "5.png").read_bytes()
    bad = folder / "5.png"
    bad.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"^{bad}: expected an image, found {len(whole) // 2} byt"):
        build(folder, workers)
    bad.write_text("not an image")
    with pytest.raises(InputError, match=f"^{bad}: expected an image, found 12 bytes"):
        build(folder, workers)
    bad.unlink()
    paint(folder, "5.png", size=(8, 7))
    with pytest.raises(InputError, match=f"^{bad}: expected .* at least 8×8 .*, found 7×8$"):
        build(folder, workers)
    bad.unlink()
    bad.symlink_to(folder / "nowhere")
    with pytest.raises(InputError, match=f"^{bad}: expected an image, .*No such file"):
        build(folder, workers)
    assert not (folder.parent / "store" / "meta.json").exists()
    assert not (folder.parent / "store" / "array.npy").exists()


def test_a_folder_without_images_is_named(folder):
    with pytest.raises(InputError, match=rf"^{folder}: expected images .*\.png.* no such folder$"):
        build(folder)
    folder.mkdir()
    (folder / "notes.txt").write_text("none yet")
    with pytest.raises(InputError, match=r"found 1 other files$"):
        build(folder)


def test_only_grey_and_colour_can_be_had(folder):
    paint(folder, "a.png")
    with pytest.raises(InputError, match="1 or 3 channels, found 2"):
        build(folder, shape=(2, 8, 8))


def test_the_store_is_the_same_for_any_number_of_workers(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(30):
        array = rng.integers(0, 256, (rng.integers(8, 40), rng.integers(8, 40), 3), dtype=np.uint8)
        Image.fromarray(array).save(folder / f"{k}.png")
    assert build(folder, 1).meta["sha256"] == build(folder, 5).meta["sha256"]


def test_each_folder_is_read_once_and_links_left_out_are_named(folder, tmp_path, capsys):
    paint(folder, "a/1.png", "b/2.png")
    paint(tmp_path / "elsewhere", "3.png")
    (folder / "self").symlink_to(".")
    (folder / "a" / "up").symlink_to("..")
    (folder / "0").symlink_to("a")
    (folder / "c").symlink_to(tmp_path / "elsewhere")
    (folder / "d").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    store = build(folder)
    assert store.array[:, 0, 0, 0].tolist() == [10, 20, 10]
    assert read_json(store.path / "classes.json") == ["a", "b", "c"]
    paint(folder, ".cache/4.png")
    (folder / "e").symlink_to(".cache")
    assert read_json(build(folder).path / "classes.json") == ["a", "b", "c", "e"]
    expected = "5 links to folders that are read anyway are left out, 0 for one"
    assert expected in capsys.readouterr().out


def test_a_folder_that_cannot_be_read_stops_the_reading(folder, monkeypatch):
    paint(folder, "a/1.png", "b/2.png")
    whole = os.scandir

    def scandir(path):
        if str(path) == str(folder / "b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match=f"^{folder}/b: expected a folder .*Permission denied"):
        build(folder)


@pytest.mark.parametrize(
    "ending", ["jfif", "jpe", "JPEG", "apng", "dib", "pnm", "jp2", "j2k", "tif", "avif"]
)
def test_every_ending_of_a_format_is_read(folder, ending):
    kinds = {"jp": "JPEG2000", "j2": "JPEG2000", "pn": "PPM", "ti": "TIFF", "di": "BMP"}
    kinds |= {"ap": "PNG", "av": "AVIF"}
    kind = "JPEG" if ending in ("jfif", "jpe", "JPEG") else kinds[ending[:2]]
    if kind == "AVIF" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow writes no AVIF")
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / f"1.{ending}", kind)
    assert len(build(folder)) == 1


def test_what_is_left_out_is_counted_and_named(folder, capsys):
    paint(folder, "cats/1.png", "__MACOSX/cats/2.png", "cats/@eaDir/3.png", "cats/.4.png")
    for name in ("cats/5.svg", "cats/notes.txt", "Makefile"):
        (folder / name).write_text("x")
    assert len(build(folder)) == 1
    printed = capsys.readouterr().out
    assert "3 files are no images, by their endings (.svg .txt none), Makefile for one" in printed
    assert "2 folders of the system's own are left out, __MACOSX for one" in printed
    assert "1 hidden files or folders are left out, cats/.4.png for one" in printed


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_does_not_wait(folder, make):
    paint(folder, "1.png")
    make(folder / "2.png")
    if make is os.mkdir:  # a folder may be called so
        assert len(build(folder)) == 1
        return
    with pytest.raises(InputError, match=f"^{folder}/2.png: expected a file, found something else"):
        build(folder)


def test_names_that_are_not_utf8_are_read_and_shown_escaped(folder, capsys):
    paint(folder, "a/1.png", "b/2.png")
    os.rename(folder / "b", os.fsencode(folder) + b"/caf\xe9")
    (folder / "a" / os.fsdecode(b"\xe9.txt")).write_text("x")
    store = build(folder)
    assert store.labels.tolist() == [0, 1]
    assert r"a/\xe9.txt for one" in capsys.readouterr().out
    bad = os.fsencode(folder) + rb"/caf\xe9/3.png".replace(rb"\xe9", b"\xe9")
    Path(os.fsdecode(bad)).write_text("no image")
    with pytest.raises(InputError, match=r"caf\\xe9/3\.png: expected an image") as caught:
        build(folder)
    str(caught.value).encode()
