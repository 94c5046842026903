"""Where pixel datasets come from: one module a kind of source; every one becomes a store."""

from pathlib import Path

from dansm.catalogue import SOURCES
from dansm.config import HeldOut, PixelSource
from dansm.data.held_out import chosen, without_overlap
from dansm.data.sources.images import Images
from dansm.data.store import Store, write_store
from dansm.errors import InputError
from dansm.io.files import check_full_disk, write_json


def build_pixel_store(
    source: PixelSource,
    shape: tuple[int, int, int],
    licence: str,
    path: Path,
    workers: int = 1,
    least: int = 1,
    held_out: HeldOut | None = None,
    training: Store | None = None,
) -> None:
    """Write the store of a pixel dataset, and ``classes.json`` in it where classes have names.

    Parameters
    ----------
    shape
        Channels, height and width of the samples.
    workers
        Threads that decode images; they change nothing but the time.
    least
        How many images the dataset's distances need.
    held_out
        Which images of the dataset are kept apart.
    training
        Store of the training images: these are then the ones kept apart, without those among them
        that are trained on.

    Raises
    ------
    InputError
        If the source's files are missing or damaged, do not give enough images of the shape, or
        give held-out images that are trained on.
    """
    try:
        images = _read(source, shape, workers, held_out, training)
        if training is not None:
            again = _read(source, shape, workers, held_out, training)
            images = without_overlap(images, again, training)
        if images.count < least:
            raise InputError(
                f"{path.name}: expected at least {least} images for its distances, found "
                f"{images.count}"
            )
        _check_labels(images, source)
        if images.classes is not None:
            write_json(path / "classes.json", images.classes)
        write_store(
            path,
            images.blocks,
            count=images.count,
            shape=shape,
            dtype="uint8",
            value_range=(0, images.highest),
            source=images.description,
            licence=licence,
            labels=images.labels,
        )
    except OSError as error:  # such as a folder that may not be entered
        check_full_disk(error, Path(str(error.filename or path)))
        raise InputError(f"{error.filename or path}: {error.strerror or error}") from error


def _read(
    source: PixelSource,
    shape: tuple[int, int, int],
    workers: int,
    held_out: HeldOut | None,
    training: Store | None,
) -> Images:
    images: Images = SOURCES[source.kind].load()(source, shape, workers)
    if held_out is None:
        return images
    return chosen(images, held_out, "training" if training is None else "held_out")


def _check_labels(images: Images, source: PixelSource) -> None:
    if images.labels is None:
        return
    where = getattr(source, "folder", source.kind)
    if len(images.labels) != images.count:
        raise InputError(
            f"{where}: expected as many labels as images, {images.count}, found "
            f"{len(images.labels)}"
        )
    if images.classes is not None and not 0 <= images.labels.min() <= images.labels.max() < len(
        images.classes
    ):
        raise InputError(
            f"{where}: expected labels from 0 to {len(images.classes) - 1}, found "
            f"{images.labels.min()} to {images.labels.max()}"
        )
