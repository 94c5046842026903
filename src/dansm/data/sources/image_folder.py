"""Any folder of images."""

import os
from pathlib import Path

import numpy as np

from dansm.config import ImageFolderSource, Shape
from dansm.data.sources.images import (
    PREPARATION,
    Images,
    check_channels,
    decode_image,
    parallel_blocks,
    wanted,
)
from dansm.errors import InputError

ENDINGS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def read(source: ImageFolderSource, shape: Shape, workers: int) -> Images:
    """Return every image below a folder, in the order of their paths.

    If all of them lie in folders, those of the first level are the classes, in the order of their
    names, unless the source says that it has none.

    Raises
    ------
    InputError
        If there is no image, there are fewer than asked for, some lie in folders and some do not,
        or a file is no image or is too small; the file is named.
    """
    check_channels(shape, source.folder)
    paths = _images_below(source.folder)
    count = wanted(source.folder, len(paths), source.count)
    labels, classes = _labels(source.folder, paths) if source.labels else (None, None)
    paths = paths[:count]

    def decode(path: Path) -> np.ndarray:
        try:
            content = (source.folder / path).read_bytes()
        except OSError as error:
            raise InputError(
                f"{source.folder / path}: expected an image, found a file that cannot be read "
                f"({error.strerror})"
            ) from error
        return decode_image(content, shape, str(source.folder / path))

    return Images(
        count=count,
        blocks=parallel_blocks(decode, paths, shape, workers),
        description=f"folder {source.folder}, first {count} images, {PREPARATION}",
        labels=None if labels is None else labels[:count],
        classes=classes,
    )


def _images_below(folder: Path) -> list[Path]:
    """Return the paths of all images, relative to the folder; hidden files do not count."""
    paths, others = [], []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            path = (Path(parent) / name).relative_to(folder)
            (paths if path.suffix.lower() in ENDINGS else others).append(path)
    if not paths:
        found = f"{len(others)} other files" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: expected images ({' '.join(sorted(ENDINGS))}) in it or below, found {found}"
        )
    if others:
        print(f"{folder}: {len(others)} files are no images, {min(others)} for one", flush=True)
    return sorted(paths)


def _labels(folder: Path, paths: list[Path]) -> tuple[np.ndarray | None, list[str] | None]:
    beside = [path for path in paths if len(path.parts) == 1]
    if len(beside) == len(paths):
        return None, None
    if beside:
        raise InputError(
            f"{folder}: expected every image in the folder of its class, found {len(beside)} "
            f"beside the folders, {beside[0]} for one; with labels: false they may be anywhere"
        )
    names = [path.parts[0] for path in paths]
    classes, labels = np.unique(names, return_inverse=True)
    return labels, classes.tolist()
