"""Pictures of strangers: what is read of them, and what is refused before it is decoded."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.errors import UserError
from models.untrusted import pictures
from models.untrusted.pictures import load_picture

ORIENTATION = 0x0112


def pixels(height=24, width=16):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(array, kind="PNG", **options):
    file = io.BytesIO()
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def empty_png(width, height):
    """A PNG of a few bytes that claims so many pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_a_picture_is_read_as_it_is(kind, options, tmp_path):
    content = encoded(pixels(), kind, **options)
    (tmp_path / "one").write_bytes(content)  # by what is in it, not by its name
    np.testing.assert_array_equal(load_picture(content), pixels())
    np.testing.assert_array_equal(load_picture(tmp_path / "one"), pixels())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_that_a_camera_states_is_applied(orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = encoded(pixels(), exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    np.testing.assert_array_equal(load_picture(content), np.asarray(upright))


def test_broken_exif_leaves_a_picture_as_it_is():
    content = encoded(pixels(), exif=b"Exif\0\0MM\0*\0\0\xff\xff" + b"x" * 40)
    np.testing.assert_array_equal(load_picture(content), pixels())


def test_what_is_transparent_is_white():
    array = np.dstack([pixels(), np.full((24, 16), 255, np.uint8)])
    array[:12, :, 3] = 0
    found = load_picture(encoded(array))
    assert (found[:12] == 255).all()
    np.testing.assert_array_equal(found[12:], pixels()[12:])


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK"])
def test_other_modes_become_rgb(mode):
    picture = Image.fromarray(pixels()).convert(mode)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert load_picture(encoded(picture, kind)).shape == (24, 16, 3)


def test_grey_of_sixteen_bits_keeps_its_range():
    grey = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    found = load_picture(encoded(grey))
    assert (found[0, 0] == 0).all() and (found[-1, -1] == 255).all() and abs(found.mean() - 127.5) < 1


def test_a_large_jpeg_is_decoded_smaller_but_not_too_small():
    smooth = np.repeat(np.linspace(0, 255, 640).astype(np.uint8)[:, None], 480, 1)
    content = encoded(np.dstack([smooth] * 3), "JPEG", quality=95)
    assert load_picture(content, enough=100).shape == (160, 120, 3)
    assert load_picture(content, enough=481).shape == (640, 480, 3)


def test_a_picture_of_200_megapixels_is_refused_before_it_is_decoded(monkeypatch, recwarn):
    monkeypatch.setattr(pictures, "_decoded", None)
    for width, height in ((20_000, 10_000), (10_000, 6_500), (14_000, 10_000)):
        with pytest.raises(UserError, match="pixels than the 64 million"):
            load_picture(empty_png(width, height))
    assert not recwarn.list


def test_a_file_of_too_many_bytes_is_refused_before_it_is_looked_at(monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    monkeypatch.setattr(pictures, "_opened", None)
    (tmp_path / "one.png").write_bytes(bytes(101))
    for source in (tmp_path / "one.png", bytes(101)):
        with pytest.raises(UserError, match="too many for a picture"):
            load_picture(source)


def test_a_jpeg_of_many_scans_is_refused():
    content = encoded(pixels(64, 64), "JPEG", progressive=True)
    scan = content[content.rindex(pictures.START_OF_SCAN) : -2]
    assert load_picture(content).shape == (64, 64, 3)
    with pytest.raises(UserError, match="more scans"):
        load_picture(content[:-2] + 100 * scan + content[-2:])


def test_what_is_not_a_picture_is_refused_in_one_line(tmp_path):
    (tmp_path / "text.jpg").write_text("a photo\n")
    (tmp_path / "drawing.gif").write_bytes(encoded(pixels(), "GIF"))
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("text.jpg", "drawing.gif", "empty.png"):
        with pytest.raises(UserError, match="JPEG, PNG or WebP") as error:
            load_picture(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="there is no picture"):
        load_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match="is not a file"):
        load_picture(tmp_path)
    with pytest.raises(UserError, match="needs 8 on each side"):
        load_picture(encoded(pixels(4, 100)))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="is not a file"):
        load_picture(tmp_path / "pipe.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_half_a_picture_is_refused(kind):
    content = encoded(pixels(64, 64), kind)
    with pytest.raises(UserError, match=r"damaged|not a picture"):
        load_picture(content[: len(content) // 2], name="mine")


def test_text_that_unpacks_to_much_is_refused():
    text = PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    with pytest.raises(UserError):
        load_picture(encoded(pixels(), pnginfo=text))
