import numpy as np
import pytest
import torch

from dansm.data.latents import write_latents
from dansm.data.store import open_store
from dansm.errors import InputError

LABELS = np.array([2, 7, 1, 8])


def encode(images):
    """Means of 4 × 4 patches."""
    return torch.nn.functional.avg_pool2d(images, 4)


def write(store, path, encode=encode, shape=(3, 4, 4), batch_size=3):
    write_latents(store, encode, shape, path, source="toy", batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_latents_are_the_encoded_images_in_half_precision(
    make_store, colour_images, tmp_path, batch_size
):
    store = make_store(colour_images, (0, 255), LABELS)
    write(store, tmp_path / "l", batch_size=batch_size)
    latents = open_store(tmp_path / "l")
    scaled = colour_images.astype(np.float64) / 127.5 - 1
    expected = scaled.reshape(4, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    assert latents.array.dtype == np.float16 and latents.value_range is None
    np.testing.assert_allclose(latents.array, expected, atol=1e-3)
    np.testing.assert_array_equal(latents.labels, LABELS)
    assert (latents.meta["source"], latents.meta["licence"]) == ("toy", "none")


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        (lambda z: z, (4, 4, 4), r"latents of shape \(3, 4, 4\), .* expects \(4, 4, 4\)"),
        (lambda z: z * float("nan"), (3, 4, 4), "expected finite values, found NaN or infinity"),
        (lambda z: z + 1e6, (3, 4, 4), "expected finite values, found NaN or infinity"),
    ],
    ids=["shape", "nan", "beyond half precision"],
)
def test_unsuitable_latents_are_refused(
    make_store, colour_images, tmp_path, change, shape, message
):
    store = make_store(colour_images, (0, 255))
    with pytest.raises(InputError, match=message) as caught:
        write(store, tmp_path / "lat", lambda images: change(encode(images)), shape)
    assert "lat" in str(caught.value)
    assert not (tmp_path / "lat" / "meta.json").exists()
    assert not (tmp_path / "lat" / "array.npy").exists()
