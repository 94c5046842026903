"""Generated images as PNG files: every value is in them, and nothing else is in the folder."""

import numpy as np
import pytest
import torch
from PIL import Image

from dansm.errors import InputError
from dansm.metrics.png import kept_as_png
from dansm.metrics.sampling import Images


def batches_of(images):
    return iter([Images(torch.from_numpy(part), 1) for part in np.array_split(images, 3)])


@pytest.mark.parametrize(("channels", "high"), [(1, 16), (1, 255), (3, 255), (3, 1)])
def test_png_files_hold_every_value(make_store, tmp_path, channels, high):
    images = np.random.default_rng(0).integers(0, high + 1, (7, channels, 5, 6), dtype=np.uint8)
    folder = tmp_path / "png"
    folder.mkdir()
    (folder / "000009.png").touch()
    passed = list(kept_as_png(batches_of(images), folder, make_store(images, (0, high))))
    np.testing.assert_array_equal(torch.cat([batch.images for batch in passed]), images)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [f"{k:06d}.png" for k in range(7)]
    for path, image in zip(files, images, strict=True):
        found = np.asarray(Image.open(path)).reshape(5, 6, channels).transpose(2, 0, 1)
        np.testing.assert_array_equal(found, np.rint(image * (255 / high)))
        np.testing.assert_array_equal(np.rint(found * (high / 255)), image)


@pytest.mark.parametrize(
    ("images", "value_range"),
    [
        (np.zeros((2, 1, 4, 4), np.float32), (0, 1)),
        (np.zeros((2, 1, 4, 4), np.uint16), (0, 65535)),
        (np.zeros((2, 2, 4, 4), np.uint8), (0, 255)),
    ],
    ids=["float", "16-bit", "two channels"],
)
def test_images_that_are_no_png_are_refused(make_store, tmp_path, images, value_range):
    store = make_store(images, value_range)
    with pytest.raises(InputError, match=r"keep_png takes grey or colour .* found shape") as caught:
        list(kept_as_png(batches_of(images), tmp_path / "png", store))
    assert str(store.path) in str(caught.value)
    assert not (tmp_path / "png").exists()


def test_a_png_that_cannot_be_written_is_an_error(make_store, tmp_path, monkeypatch):
    images = np.zeros((6, 1, 4, 4), np.uint8)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        list(kept_as_png(batches_of(images), tmp_path / "png", make_store(images, (0, 255))))
