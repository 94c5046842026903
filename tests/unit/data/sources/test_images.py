import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dansm.data.sources.images import centre_crop, check_channels, decode_image, parallel_blocks
from dansm.errors import InputError

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content, channels=3, size=(6, 8)):
    array = decode_image(content, (channels, *size), "folder/x.png")
    assert array.dtype == np.uint8 and array.shape == (channels, *size)
    return array.transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_colours_are_kept(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decoded(encoded(RGB, kind, **options)), RGB)


def test_grey_becomes_colour_and_colour_grey():
    np.testing.assert_array_equal(decoded(encoded(GREY)), np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(decoded(encoded(GREY), 1)[..., 0], GREY)
    # Rec. 601's luma, as everywhere in Pillow.
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded(encoded(RGB), 1)[..., 0], luma, atol=0.51)


def test_palettes_become_colours():
    image = Image.fromarray(RGB).quantize(256)
    assert image.mode == "P"
    np.testing.assert_array_equal(decoded(encoded(image)), np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(decoded(encoded(image, "GIF"))[2], decoded(encoded(image))[2])


def test_black_and_white_becomes_grey():
    bits = Image.fromarray(GREY > 99)
    assert bits.mode == "1"
    np.testing.assert_array_equal(decoded(encoded(bits), 1)[..., 0], (GREY > 99) * 255)


def test_transparent_pixels_lie_over_white():
    alpha = np.random.default_rng(1).integers(0, 256, (6, 8, 1), dtype=np.uint8)
    alpha[0], alpha[1] = 0, 255
    expected = (RGB * (alpha / 255) + 255 - alpha).astype(float)
    array = decoded(encoded(np.concatenate([RGB, alpha], axis=2)))
    np.testing.assert_allclose(array, expected, atol=1)
    np.testing.assert_array_equal(array[0], 255)
    np.testing.assert_array_equal(array[1], RGB[1])
    palette = Image.fromarray(RGB).quantize(16)
    transparent = np.asarray(palette) == 3
    array = decoded(encoded(palette, transparency=3))
    np.testing.assert_array_equal(array[transparent], 255)
    np.testing.assert_array_equal(
        array[~transparent], np.asarray(palette.convert("RGB"))[~transparent]
    )


def test_cmyk_becomes_colour():
    ink = np.zeros((6, 8, 4), np.uint8)
    ink[:3, :, 0], ink[3:, :, 3] = 255, 255  # cyan above, black below
    array = decoded(encoded(Image.fromarray(ink, mode="CMYK"), "JPEG", quality=100))
    np.testing.assert_allclose(array[0], np.tile([0, 255, 255], (8, 1)), atol=3)
    np.testing.assert_allclose(array[5], 0, atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(kind):
    deep = np.random.default_rng(2).integers(0, 2**16, (6, 8), dtype=np.uint16)
    image = Image.fromarray(deep)
    assert image.mode.startswith("I;16")
    np.testing.assert_array_equal(decoded(encoded(image, kind), 1)[..., 0], deep // 256)
    np.testing.assert_array_equal(decoded(encoded(image, kind))[..., 1], deep // 256)


@pytest.mark.parametrize(("dtype", "mode"), [(np.int32, "I"), (np.float32, "F")])
def test_thirty_two_bits_are_refused(dtype, mode):
    content = encoded(Image.fromarray(GREY.astype(dtype)), "TIFF")
    with pytest.raises(InputError, match=rf"folder/x.png: expected .* found 32 \(mode {mode}\)"):
        decoded(content)


def test_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    array = decoded(encoded(RGB, exif=exif), size=(8, 6))
    np.testing.assert_array_equal(array, np.rot90(RGB, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_images_are_named(kind):
    content = encoded(np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8), kind)
    for kept in (len(content) // 2, 30, 0):
        with pytest.raises(InputError) as caught:
            decoded(content[:kept], size=(64, 64))
        assert str(caught.value).startswith(
            f"folder/x.png: expected an image, found {kept} bytes that cannot be read ("
        )


@pytest.mark.parametrize("size", [(7, 8), (6, 9), (60, 80)])
def test_images_smaller_than_the_crop_are_named(size):
    expected = f"at least {size[0]}×{size[1]} (height × width), found 6×8"
    with pytest.raises(InputError) as caught:
        decoded(encoded(RGB), size=size)
    assert str(caught.value) == f"folder/x.png: expected an image of {expected}"


def test_images_have_one_or_three_channels():
    check_channels((1, 8, 8), "x")
    with pytest.raises(InputError, match=r"x: images have 1 or 3 channels, found 4 .*\(4, 8, 8\)"):
        check_channels((4, 8, 8), "x")


@pytest.mark.parametrize(
    "size", [(16, 16), (40, 16), (16, 40), (341, 256), (17, 300), (17, 33), (24, 25)], ids=str
)
@pytest.mark.parametrize("wanted", [(16, 16), (8, 16), (3, 1)], ids=str)
def test_centre_crop_gives_the_wanted_size(size, wanted):
    assert centre_crop(Image.new("RGB", size), wanted).size == wanted[::-1]


def test_centre_crop_only_crops_where_that_is_enough():
    image = np.random.default_rng(4).integers(0, 256, (16, 21, 3), dtype=np.uint8)
    cropped = np.asarray(centre_crop(Image.fromarray(image), (16, 16)))
    np.testing.assert_array_equal(cropped, image[:, 2:18])


def test_centre_crop_scales_what_it_keeps_without_aliasing():
    stripes = np.zeros((20, 60), np.uint8)
    stripes[:, 20:40] = 200
    np.testing.assert_array_equal(centre_crop(Image.fromarray(stripes), (20, 20)), 200)
    np.testing.assert_array_equal(centre_crop(Image.fromarray(stripes.T.copy()), (20, 20)), 200)
    # Half the size: of 20 × 40 kept pixels, half a black stripe at each side.
    wide = np.asarray(centre_crop(Image.fromarray(stripes), (10, 20)))[5]
    inside = [0, 1, 2, 7, 8, 9, 10, 11, 12, 17, 18, 19]  # Lanczos blurs the stripe's edges
    np.testing.assert_allclose(wide[inside], np.repeat([0, 200, 0], [5, 10, 5])[inside], atol=10)
    # A fine checkerboard becomes its mean, not one of its colours.
    checks = (np.indices((64, 64)).sum(axis=0) % 2 * 200).astype(np.uint8)
    np.testing.assert_allclose(centre_crop(Image.fromarray(checks), (8, 8)), 100, atol=6)


@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_are_bounded_and_in_order(monkeypatch, workers):
    monkeypatch.setattr("dansm.data.sources.images._BLOCK_BYTES", 4 * 12)
    taken = []

    def items():
        for k in range(10):
            taken.append(k)
            yield k

    blocks = parallel_blocks(lambda k: np.full((3, 2, 2), k, np.uint8), items(), (3, 2, 2), workers)
    assert next(blocks)[:, 0, 0, 0].tolist() == [0, 1, 2, 3] and taken == [0, 1, 2, 3]
    assert [len(block) for block in blocks] == [4, 2]


def test_an_item_that_fails_ends_the_blocks():
    def fail_at_3(k):
        if k == 3:
            raise InputError("item 3")
        return np.zeros((1, 1, 1), np.uint8)

    with pytest.raises(InputError, match="item 3"):
        list(parallel_blocks(fail_at_3, range(9), (1, 1, 1), 2))


@pytest.mark.parametrize("head", [b"P5 8 6 65535\n", b"P2\n8 6\n65535\n"], ids=["binary", "text"])
def test_sixteen_bit_greymaps_keep_their_upper_eight(head):
    values = np.random.default_rng(5).integers(0, 2**16, (6, 8)).astype(">u2")
    body = values.tobytes() if head.startswith(b"P5") else " ".join(map(str, values.flat)).encode()
    np.testing.assert_array_equal(decoded(head + body, 1)[..., 0], values >> 8)


def chunk(name, content, wrong=0):
    crc = zlib.crc32(name + content) ^ wrong
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)


@pytest.mark.parametrize(
    ("colour", "clear"), [(0, (513,)), (2, (65535, 0, 513))], ids=["grey", "colour"]
)
def test_what_a_16_bit_image_says_is_transparent_lies_over_white(colour, clear):
    other = tuple(40000 for _ in clear)
    rows = struct.pack(f">{8 * len(clear)}H", *(clear * 4 + other * 4))
    content = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", 8, 6, 16, colour, 0, 0, 0)
    )
    content += chunk(b"tRNS", struct.pack(f">{len(clear)}H", *clear))
    content += chunk(b"IDAT", zlib.compress((b"\0" + rows) * 6)) + chunk(b"IEND", b"")
    array = decoded(content)
    assert (array[:, :4] == 255).all() and (array[:, 4:] == 40000 >> 8).all()


EXIF = (
    b"Exif\0\0MM\0*\0\0\0\x08\0\x02"
    + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    + struct.pack(">HHII", 0x11A, 10, 1, 38)
    + bytes(4)
    + struct.pack(">ii", -1, 0)
)


def test_metadata_that_is_wrong_in_part_still_turns_an_image_upright():
    array = decoded(encoded(RGB, "JPEG", exif=EXIF), size=(8, 6))
    np.testing.assert_array_equal(array, np.rot90(decoded(encoded(RGB, "JPEG")), -1))


PNG_METADATA = {
    "wrong sum": chunk(b"tEXt", b"a\0b", wrong=1),
    "large text": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))),
    "empty profile": chunk(b"iCCP", b""),
    "no profile": chunk(b"iCCP", b"a\0\0junk"),
    "short size": chunk(b"pHYs", b"\0"),
    "short gamma": chunk(b"gAMA", b"\0"),
    "short animation": chunk(b"acTL", b"\0"),
    "no Exif": chunk(b"eXIf", b"junk"),
}


@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize("part", PNG_METADATA.values(), ids=PNG_METADATA)
def test_metadata_does_not_refuse_a_png(part, late):
    content = encoded(RGB)
    place = len(content) - 12 if late else 33
    np.testing.assert_array_equal(decoded(content[:place] + part + content[place:]), RGB)


def segment(number, content):
    return bytes([0xFF, number]) + struct.pack(">H", len(content) + 2) + content


@pytest.mark.parametrize(
    "part",
    [
        segment(0xE2, b"ICC_PROFILE\0\1"),
        segment(0xE0, b"JFIF"),
        segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\0\xff\xff\xff"),
        segment(0xE2, b"MPF\0II*\0junk"),
        segment(0xE1, b"Exif\0\0junk"),
        segment(0xFE, b"\xff\xfe"),
    ],
    ids=["profile", "JFIF", "Photoshop", "MPF", "Exif", "comment"],
)
def test_metadata_does_not_refuse_a_jpeg(part):
    content = encoded(RGB, "JPEG")
    np.testing.assert_array_equal(decoded(content[:2] + part + content[2:]), decoded(content))


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 6\n%%EndComments\nshowpage\n%%EOF",
        b"\xd7\xcd\xc6\x9a" + bytes(40),
        b"8BPS\0\1" + bytes(40),
    ],
    ids=["EPS", "WMF", "PSD"],
)
def test_formats_that_are_no_pictures_alone_are_not_opened(monkeypatch, content):
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: pytest.fail("a program ran"))
    monkeypatch.setattr("subprocess.Popen", lambda *a, **k: pytest.fail("a program ran"))
    with pytest.raises(InputError, match=r"cannot be read \(cannot identify image file\)"):
        decoded(content)


def test_pictures_too_large_are_refused_before_they_are_read():
    assert Image.MAX_IMAGE_PIXELS is None
    with pytest.raises(InputError, match="at most 1000 megapixels, found 1001; scale"):
        decoded(b"P4 100100 10000\n")
