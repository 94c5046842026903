"""Any folder of images."""

import os
from pathlib import Path

import numpy as np

from dansm.config import ImageFolderSource, Shape
from dansm.data.sources.images import (
    ENDINGS,
    PREPARATION,
    Images,
    check_channels,
    decode_image,
    parallel_blocks,
    wanted,
)
from dansm.errors import InputError, printable

_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "lost+found"})


def read(source: ImageFolderSource, shape: Shape, workers: int) -> Images:
    """Return every image below a folder, in the order of their paths.

    If all of them lie in folders, those of the first level are the classes, in the order of their
    names, unless the source says that it has none.

    Raises
    ------
    InputError
        If there is no image, there are fewer than asked for, some lie in folders and some do not
        or none where classes are needed, or a file is no image or is too small; the file is named.
    """
    check_channels(shape, source.folder)
    paths = _images_below(source.folder)
    labels, classes = _labels(source.folder, paths) if source.labels else (None, None)
    if source.per_class is not None:
        rows = _first_of_each(source.folder, labels, classes, source.per_class)
        paths, labels = [paths[row] for row in rows], labels[rows]
    count = wanted(source.folder, len(paths), source)
    paths = paths[:count]

    def decode(path: Path) -> np.ndarray:
        where = source.folder / path
        if where.exists() and not where.is_file():  # a pipe would wait for ever
            raise InputError(f"{where}: expected a file, found something else of that name")
        try:
            content = where.read_bytes()
        except OSError as error:
            raise InputError(
                f"{where}: expected an image, found a file that cannot be read ({error.strerror})"
            ) from error
        return decode_image(content, shape, str(where))

    return Images(
        count=count,
        blocks=parallel_blocks(decode, paths, shape, workers),
        description=f"folder {source.folder}, first {count} images, {PREPARATION}",
        labels=None if labels is None else labels[:count],
        classes=classes,
    )


def _images_below(folder: Path) -> list[Path]:
    """Return the paths of all images, relative to the folder; print what is left out.

    Links are followed, but each folder is read once.
    """
    paths: list[Path] = []
    left_out: dict[str, list[str]] = {"hidden": [], "systems": [], "links": [], "others": []}
    top = os.path.realpath(folder)
    seen = {top}

    def stop(error: OSError) -> None:
        if os.path.lexists(folder):
            raise InputError(
                f"{error.filename}: expected a folder that can be read, found none "
                f"({error.strerror})"
            ) from error

    for parent, folders, names in os.walk(folder, followlinks=True, onerror=stop):
        below = Path(parent).relative_to(folder)
        folders.sort()  # so that of two links to a folder it is always the same that counts
        for name in folders[:]:
            real = os.path.realpath(f"{parent}/{name}")
            inside = f"{real}/".startswith(f"{top}/") and not any(
                map(_is_left_out, os.path.relpath(real, top).split("/"))
            )
            if _is_left_out(name):
                why = "systems" if name in _OF_SYSTEMS else "hidden"
            elif real in seen or (inside and os.path.islink(f"{parent}/{name}")):
                why = "links"
            else:
                seen.add(real)
                continue
            folders.remove(name)
            left_out[why].append(str(below / name))
        for name in names:
            if _is_left_out(name):
                left_out["hidden"].append(str(below / name))
            elif (below / name).suffix.lower() in ENDINGS:
                paths.append(below / name)
            else:
                left_out["others"].append(str(below / name))
    if not paths:
        found = f"{len(left_out['others'])} other files" if folder.is_dir() else "no such folder"
        raise InputError(
            f"{folder}: expected images ({' '.join(sorted(ENDINGS))}) in it or below, found {found}"
        )
    endings = sorted({Path(name).suffix.lower() or "none" for name in left_out["others"]})
    for kind, what in (
        ("others", f"files are no images, by their endings ({' '.join(endings[:20])})"),
        ("hidden", "hidden files or folders are left out"),
        ("systems", "folders of the system's own are left out"),
        ("links", "links to folders that are read anyway are left out"),
    ):
        if names := left_out[kind]:
            print(printable(f"{folder}: {len(names)} {what}, {min(names)} for one"), flush=True)
    return sorted(paths)


def _is_left_out(name: str) -> bool:
    return name in _OF_SYSTEMS or (name.startswith(".") and name != ".")


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


def _first_of_each(
    folder: Path, labels: np.ndarray | None, classes: list[str] | None, number: int
) -> np.ndarray:
    """Return the rows of the first so many images of each class."""
    if labels is None or classes is None:
        raise InputError(
            f"{folder}: expected {number} images of each class in the folder of their class, found "
            "no folders"
        )
    rows = [np.flatnonzero(labels == label) for label in range(len(classes))]
    for name, own in zip(classes, rows, strict=True):
        if len(own) < number:
            raise InputError(f"{folder / name}: expected {number} images, found {len(own)}")
    return np.concatenate([own[:number] for own in rows])
