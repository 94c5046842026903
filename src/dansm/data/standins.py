"""Stand-ins for published datasets: made-up images in the published formats, for reduced scales.

What reads the published files reads these too, so a plumbing check needs no download.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import interpolate

from dansm.catalogue import SOURCES
from dansm.config import PixelSource, Shape
from dansm.randomness import generator


def write_standin(source: PixelSource, shape: Shape, images: int) -> None:
    """Write the files that a source reads into its folder, with so many made-up images.

    ``shape`` is that of the dataset's samples.
    """
    SOURCES[source.kind].load_standin()(source, shape, images)


def smooth_images(
    count: int, channels: int, height: int, width: int, part: str = "training"
) -> Iterator[np.ndarray]:
    """Yield images of smooth random gradients, shape (height, width, channels), uint8.

    Those of another part are others.
    """
    purpose = "standin" if part == "training" else f"standin-{part}"
    for k in range(count):
        coarse = torch.rand(1, channels, 4, 4, generator=generator(k, purpose))
        image = interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0]
        yield (255 * image).round().byte().permute(1, 2, 0).numpy()
