"""Generated images as PNG files, for tools that read folders."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dansm.data.store import Store
from dansm.errors import InputError
from dansm.metrics.sampling import Images


def kept_as_png(batches: Iterator[Images], folder: Path, store: Store) -> Iterator[Images]:
    """Yield batches of images and write them as ``000000.png`` … meanwhile, in threads.

    The folder is emptied first, so that when the batches are at their end it holds these images
    and no others. No job reads them again.

    Parameters
    ----------
    store
        The pixel store whose type and value range the images have.

    Raises
    ------
    InputError
        If the images are not grey or colour, or have more values than PNG's 256.
    """
    integers = np.issubdtype(store.array.dtype, np.integer)
    low, high = store.value_range or (0, 0)
    if not integers or not 0 < high - low <= 255 or store.array.shape[1] not in (1, 3):
        raise InputError(
            f"{store.path}: keep_png takes grey or colour images of at most 256 values, found "
            f"shape {store.array.shape[1:]} of {store.array.dtype} in {store.value_range}"
        )

    def write(number: int, image: np.ndarray) -> None:
        # A smaller range is spread over PNG's, so that each value still has one of its own.
        values = np.rint((image.astype(float) - low) * (255 / (high - low))).astype(np.uint8)
        picture = Image.fromarray(values.transpose(1, 2, 0).squeeze())
        picture.save(folder / f"{number:06d}.png", compress_level=1)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    first = 0
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        written: Iterator[None] = iter(())
        for batch in batches:
            list(written)  # the batch before; raises what went wrong in a thread
            numbers = range(first, first + len(batch.images))
            written = pool.map(write, numbers, batch.images.cpu().numpy())
            first += len(batch.images)
            yield batch
        list(written)
