"""What every source hands over, and how image files become arrays."""

import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from math import prod
from typing import Any, TypeVar

import numpy as np
from PIL import ExifTags, Image

from dansm.errors import InputError

PREPARATION = "centre crop, Lanczos"

# Formats of pixels alone: some of Pillow's others start further programs, as EPS does.
Image.init()
_FORMATS = tuple(
    name
    for name in ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
    if name in Image.OPEN
)
ENDINGS = frozenset(
    ending
    for ending, name in Image.registered_extensions().items()
    if name in (*_FORMATS, "MPO")  # what cameras make of several JPEG images
)

_BLOCK_BYTES = 64 * 1024 * 1024
_MODES = {1: "L", 3: "RGB"}
_MOST_MEGAPIXELS = 1000  # in place of Pillow's own limit, which is for pictures from strangers
Image.MAX_IMAGE_PIXELS = None
_TURNS = dict(
    enumerate(
        (
            Image.Transpose.FLIP_LEFT_RIGHT,
            Image.Transpose.ROTATE_180,
            Image.Transpose.FLIP_TOP_BOTTOM,
            Image.Transpose.TRANSPOSE,
            Image.Transpose.ROTATE_270,
            Image.Transpose.TRANSVERSE,
            Image.Transpose.ROTATE_90,
        ),
        start=2,
    )
)  # by the orientation that Exif states
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Images:
    """A dataset's images on their way into a store.

    Attributes
    ----------
    count
        How many there are.
    blocks
        Consecutive arrays of them, shape ``(n, channels, height, width)``, uint8.
    description
        Where they come from and what was done to them.
    highest
        Largest value that a pixel can take.
    labels
        Shape ``(count,)``, from 0; or None.
    classes
        Names of the classes by label, where they have any.
    """

    count: int
    blocks: Iterable[np.ndarray]
    description: str
    highest: int = 255
    labels: np.ndarray | None = None
    classes: list[str] | None = None


def wanted(folder: object, found: int, source: Any) -> int:
    """Return how many of the images that were found a source with a ``count`` shall give.

    Raises
    ------
    InputError
        If there are fewer, or none.
    """
    if found < (source.count or 1):
        raise InputError(f"{folder}: expected {source.count or 'some'} images, found {found}")
    return min(source.count or found, source.at_most or found)


def parallel_blocks(
    decode: Callable[[_Item], np.ndarray],
    items: Iterable[_Item],
    shape: tuple[int, int, int],
    workers: int,
) -> Iterator[np.ndarray]:
    """Decode items in threads, and yield their images in order, in blocks of bounded size.

    Threads suffice, since Pillow's decoders work outside the interpreter's lock.
    """
    rows = max(1, _BLOCK_BYTES // prod(shape))
    items = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        while some := list(islice(items, rows)):
            yield np.stack(list(pool.map(decode, some)))


def decode_image(content: bytes, shape: tuple[int, int, int], where: str) -> np.ndarray:
    """Turn an image file into an array: upright, in 8 bits, centre-cropped and scaled down.

    Transparent pixels are laid over white, 16-bit grey is reduced to its upper 8 bits (as Pillow
    does with 16-bit colour), other colour spaces are converted to RGB; of several frames the first
    is taken. Metadata that cannot be read is left out.

    Parameters
    ----------
    content
        The file's bytes.
    shape
        Channels (1 or 3), height and width of the result.
    where
        The file, for messages.

    Returns
    -------
    numpy.ndarray, of that shape, uint8

    Raises
    ------
    InputError
        If the bytes are no complete image, its values cannot be had in 8 bits, or it is smaller
        than the shape or has more than 1 000 megapixels.
    """
    channels, height, width = shape
    try:
        try:
            image = _loaded(content, where)
        except InputError:
            raise
        except Exception:  # as below; what it says of itself may be the cause
            image = _loaded(_without_metadata(content), where)
        deep = image.format == "PPM" or (image.format == "PNG" and content[24] == 16)
        image = _in_mode(_upright(image), _MODES[channels], where, deep)
    except InputError:
        raise
    except Exception as error:  # on damaged bytes, Pillow's decoders raise whatever happens to them
        reason = str(error).partition(" <")[0]
        raise InputError(
            f"{where}: expected an image, found {len(content)} bytes that cannot be read ({reason})"
        ) from error
    if image.height < height or image.width < width:
        raise InputError(
            f"{where}: expected an image of at least {height}×{width} (height × width), "
            f"found {image.height}×{image.width}"
        )
    pixels = np.asarray(centre_crop(image, (height, width)))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def check_channels(shape: tuple[int, int, int], folder: object) -> None:
    """Check that image files can be decoded to a shape.

    Raises
    ------
    InputError
        If they cannot.
    """
    if shape[0] not in _MODES:
        raise InputError(
            f"{folder}: images have 1 or 3 channels, found {shape[0]} in the dataset's shape "
            f"{tuple(shape)}"
        )


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Cut the centre of ``size``'s proportions out of an image and scale it to ``size``.

    Parameters
    ----------
    size
        Height and width.
    """
    height, width = size
    scale = min(image.height / height, image.width / width)
    kept = (max(1, round(width * scale)), max(1, round(height * scale)))
    # On whole pixels, so that an image which only needs cropping keeps its values.
    left, top = (image.width - kept[0]) // 2, (image.height - kept[1]) // 2
    cropped = image.crop((left, top, left + kept[0], top + kept[1]))
    return cropped.resize((width, height), Image.Resampling.LANCZOS)


def _loaded(content: bytes, where: str) -> Image.Image:
    image = Image.open(BytesIO(content), formats=_FORMATS)
    megapixels = image.width * image.height // 10**6
    if megapixels > _MOST_MEGAPIXELS:
        raise InputError(
            f"{where}: expected at most {_MOST_MEGAPIXELS} megapixels, found {megapixels}; scale "
            "the picture down beforehand"
        )
    image.load()
    return image


def _without_metadata(content: bytes) -> bytes:
    """Return a PNG or JPEG file without what says nothing of its pixels and orientation."""
    if content.startswith(b"\x89PNG"):
        kept, place = content[:8], 8
        while place + 8 <= len(content):
            size, name = struct.unpack(">I4s", content[place : place + 8])
            if name.isupper() or name in (b"tRNS", b"eXIf"):
                kept += content[place : place + size + 12]
            place += size + 12
    elif content.startswith(b"\xff\xd8"):
        kept, place = content[:2], 2
        while content[place + 1 : place + 2] not in (b"\xda", b"") and content[place] == 0xFF:
            (size,) = struct.unpack(">H", content[place + 2 : place + 4])
            # Of applications' segments, Exif (1) and Adobe's colours (14); no comments (0xFE).
            if content[place + 1] in (0xE1, 0xEE) or content[place + 1] < 0xE0:
                kept += content[place : place + size + 2]
            place += size + 2
        kept += content[place:]
    else:
        return content
    return kept


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # as above; then nothing is known of its orientation
        turn = None
    return image if turn is None else image.transpose(turn)


def _in_mode(image: Image.Image, mode: str, where: str, deep: bool) -> Image.Image:
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16") or (deep and image.mode == "I"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if clear is not None:
            grey[values == clear] = 255  # as if laid over white
        image = Image.fromarray(grey)
    elif deep and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.mode in ("I", "F"):
        raise InputError(
            f"{where}: expected an image of 8 or 16 bits, found 32 (mode {image.mode}), whose "
            "range is unknown"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert("RGB").convert(mode)
