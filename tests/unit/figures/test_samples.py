"""Sample grids: image k is at place k, and the titles say how it was made."""

import numpy as np
import pytest

from dansm.errors import InputError
from dansm.figures import read_samples, sample_grid
from dansm.figures.samples import Samples


def test_grid_shows_image_k_at_place_k(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (64, 3, 5, 6), dtype=np.uint8)
    path = tmp_path / "samples.npz"
    np.savez(
        path, **{"ddim_original-3": images, "ddim_original-3-nfe": 4.0, "value_range": [0, 16]}
    )
    with pytest.raises(InputError, match=r"samples\.npz.*ddim_original-4"):
        read_samples(path, "ddim_original", [3, 4])
    grids = {(size, 3): read_samples(path, "ddim_original", [3])[3] for size in (0, 100)}
    figure = sample_grid(
        grids, dataset="d", process="diffusion", sampler="ddim_original", seed=0, images_a_side=2
    )
    assert [axes.get_title() for axes in figure.axes] == ["Vanilla", "Match size 100"]
    assert figure.axes[0].get_ylabel() == "3 steps\n(NFE 4)"
    mosaic = figure.axes[0].images[0].get_array()
    assert mosaic.shape == (11, 13, 3)
    np.testing.assert_allclose(mosaic[6:, :6], images[2].transpose(1, 2, 0) / 16)


@pytest.mark.parametrize(("side", "gap", "scaling"), [(32, 1, "nearest"), (256, 8, "antialiased")])
def test_large_images_are_as_apart_as_small_ones_and_not_aliased(side, gap, scaling):
    grids = {(0, 3): Samples(np.zeros((16, 3, side, side)), 3.0)}
    figure = sample_grid(grids, dataset="d", process="diffusion", sampler="ddim_original", seed=0)
    (image,) = figure.axes[0].images
    assert image.get_interpolation() == scaling
    white = (image.get_array() == 1).all(axis=(1, 2))
    assert white.sum() == 3 * gap and white[side : side + gap].all()
