"""LSUN: a category's published zip holds an LMDB of WebP images."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

import lmdb
import numpy as np
from PIL import Image

from dansm.config import LsunSource, Shape
from dansm.data.sources.images import (
    PREPARATION,
    Images,
    check_channels,
    decode_image,
    parallel_blocks,
    wanted,
)
from dansm.data.standins import smooth_images
from dansm.errors import InputError
from dansm.io.files import check_free_space, check_full_disk, locked, publish_partial


def read(source: LsunSource, shape: Shape, workers: int) -> Images:
    """Return the first images of a category, in the order of their keys.

    The zip, if there is no LMDB yet, is unpacked beside itself, once.

    Raises
    ------
    InputError
        If neither is there, one of them is damaged, there are fewer images than asked for, or
        the value of a key is no image; the key is named.
    """
    folder = source.folder / f"{source.category}_lmdb"
    check_channels(shape, folder)
    _unpack(source.folder / f"{folder.name}.zip", folder / "data.mdb")
    with _opened(folder) as database:
        count = wanted(folder, database.stat()["entries"], source)

    def decode(item: tuple[bytes, bytes]) -> np.ndarray:
        key, value = item
        return decode_image(value, shape, f"{folder}, key {key.decode(errors='replace')}")

    return Images(
        count=count,
        blocks=parallel_blocks(decode, islice(_items(folder), count), shape, workers),
        description=f"LSUN {source.category}, first {count} images, {PREPARATION}",
    )


def _unpack(archive: Path, target: Path) -> None:
    if target.is_file():
        return
    if not archive.is_file():
        raise InputError(
            f"{archive.parent}: expected {archive.name} or {target.parent.name}/{target.name}, "
            "found neither; `snakemake stage_data --forcerun download` downloads it again"
        )
    with locked(target):
        if target.is_file():  # another job has just unpacked it
            return
        member = f"{target.parent.name}/{target.name}"
        partial = target.with_name(f".{target.name}.partial")
        try:
            with ZipFile(archive) as content, content.open(member) as packed:
                check_free_space(target.parent, content.getinfo(member).file_size, target)
                print(f"unpacking {archive}", flush=True)
                with open(partial, "wb") as file:
                    shutil.copyfileobj(packed, file, 16 * 1024 * 1024)
        except Exception as error:  # on damaged bytes, what reads zips raises of every kind
            partial.unlink(missing_ok=True)
            check_full_disk(error, target)
            if isinstance(error, InputError):
                raise
            raise InputError(f"{archive}: expected {member} in a zip, found {error}") from error
        publish_partial(partial, target)


def _opened(folder: Path) -> lmdb.Environment:
    try:
        database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise InputError(f"{folder}: expected an LMDB, found {error}") from error
    # Reading a mapped page beyond the file's end would kill the process.
    expected = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    found = (folder / "data.mdb").stat().st_size
    if found < expected:
        raise InputError(f"{folder / 'data.mdb'}: expected {expected} bytes, found {found}")
    return database


def _items(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        with _opened(folder) as database, database.begin() as transaction:
            yield from transaction.cursor()
    except lmdb.Error as error:
        raise InputError(f"{folder}: expected a complete LMDB, found {error}") from error


def write_standin(source: LsunSource, shape: Shape, images: int) -> None:
    """Write an LMDB of made-up images; see `dansm.data.standins.write_standin`."""
    files = {}
    # As published: the shorter side has 256 pixels, the other more.
    for k, image in enumerate(smooth_images(images, 3, shape[1], 4 * shape[2] // 3)):
        file = BytesIO()
        Image.fromarray(image).save(file, "WEBP")
        files[f"{k:040x}".encode()] = file.getvalue()
    folder = source.folder / f"{source.category}_lmdb"
    folder.mkdir(parents=True)
    # Each value takes whole pages, each key a part of one.
    size = 2**20 + sum(len(value) + 2**13 for value in files.values())
    with lmdb.open(str(folder), map_size=size) as database, database.begin(write=True) as content:
        for key, value in files.items():
            content.put(key, value)
