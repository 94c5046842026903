import numpy as np
import pytest

from dansm.config import (
    Cifar10Source,
    DigitsSource,
    HeldOut,
    ImageFolderSource,
    LsunSource,
    MnistSource,
)
from dansm.data.sources import build_pixel_store
from dansm.data.standins import write_standin
from dansm.data.store import open_store
from dansm.errors import InputError

SHARE, BEYOND = HeldOut(share=0.332), HeldOut(beyond=5)
PUBLISHED = HeldOut(published=True)


def rows(store):
    return {image.tobytes() for image in np.asarray(store.array)}


def built(folder, source, held_out, shape):
    """The two stores of a dataset."""
    stores = []
    for part in ("training", "held_out"):
        training = stores[0] if stores else None
        of_part = held_out.source(source, part)
        build_pixel_store(of_part, shape, "", folder / part, held_out=held_out, training=training)
        stores.append(open_store(folder / part))
    return stores


@pytest.mark.parametrize(
    ("kind", "held_out", "shape", "made", "counts"),
    [
        (MnistSource, PUBLISHED, (1, 28, 28), 12, (12, 12)),
        (Cifar10Source, PUBLISHED, (3, 32, 32), 12, (12, 12)),
        (LsunSource, BEYOND, (3, 16, 16), 12, (7, 5)),
        (LsunSource, HeldOut(share=0.3), (3, 16, 16), 12, (5, 2)),
    ],
)
def test_parts_have_no_image_in_common(tmp_path, kind, held_out, shape, made, counts):
    name = {MnistSource: "mnist", Cifar10Source: "cifar10", LsunSource: "lsun"}[kind]
    own = {"category": "rooms", "count": 7} if kind is LsunSource else {}
    source = kind(kind=name, folder=tmp_path / "files", **own)
    if kind is Cifar10Source:
        source = source.model_copy(update={"published": False})
    parts = ("training", "held_out") if held_out.published else ("training",)
    for part in parts:
        write_standin(held_out.source(source, part), shape, made)
    training, apart = built(tmp_path, source, held_out, shape)
    assert (len(training), len(apart)) == counts
    assert not rows(training) & rows(apart)


def test_a_share_and_the_rest_are_all_of_the_digits_with_their_labels(tmp_path):
    digits = DigitsSource(kind="sklearn_digits")
    training, apart = built(tmp_path, digits, SHARE, (1, 8, 8))
    assert (len(training), len(apart)) == (1200, 597)
    build_pixel_store(digits, (1, 8, 8), "", tmp_path / "all")
    everything = open_store(tmp_path / "all")
    label = dict(zip(map(bytes, everything.array), everything.labels, strict=True))
    found = {}
    for store in (training, apart):
        found |= dict(zip(map(bytes, store.array), store.labels, strict=True))
        # In their order, and of every class.
        order = [[*label].index(bytes(image)) for image in store.array[:50]]
        assert order == sorted(order)
        assert len(np.unique(store.labels)) == 10
    assert found == label


def images_in(folder, numbers):
    from PIL import Image

    folder.mkdir()
    for k in numbers:
        pixels = np.full((8, 8), k, np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:03d}.png")
    return folder


def test_images_that_are_trained_on_are_left_out_and_counted(tmp_path, capsys):
    source = ImageFolderSource(kind="image_folder", folder=images_in(tmp_path / "a", range(20)))
    held_out = HeldOut(folder=images_in(tmp_path / "b", [*range(19, 40)]))
    _, apart = built(tmp_path, source, held_out, (1, 8, 8))
    assert np.asarray(apart.array)[:, 0, 0, 0].tolist() == [*range(20, 40)]
    assert "1 of 21 held-out images are left out" in capsys.readouterr().out


def test_held_out_images_of_which_many_are_trained_on_are_refused(tmp_path):
    source = ImageFolderSource(kind="image_folder", folder=images_in(tmp_path / "a", range(20)))
    held_out = HeldOut(folder=images_in(tmp_path / "b", range(15, 40)))
    with pytest.raises(InputError, match=r"not trained on, found 5 of 25 among .* number 0"):
        built(tmp_path, source, held_out, (1, 8, 8))
    assert not (tmp_path / "held_out").exists()


def test_a_share_that_leaves_nothing_is_refused(tmp_path):
    source = ImageFolderSource(kind="image_folder", folder=images_in(tmp_path / "a", range(3)))
    with pytest.raises(InputError, match=r"some images on either side, found 0\.1 of 3"):
        built(tmp_path, source, HeldOut(share=0.1), (1, 8, 8))
