"""Pictures that are not to be trusted: JPEG, PNG and WebP, decoded by Pillow within limits.

Only pixels come out: comments, places, thumbnails, colour profiles and all that is hidden in a file stay behind, and of
an animation all frames but the first.
"""

import io
import stat
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from models.errors import UserError, quoted

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_BYTES = 1 << 27
MOST_PIXELS = 64_000_000  # what phones make of 50 megapixels at most; 192 MB
LEAST_SIDE = 8  # pixels
# Each scan of a progressive JPEG goes over all pixels again, and costs its file a few bytes; encoders make about 10.
MOST_SCANS, START_OF_SCAN = 64, b"\xff\xda"
ORIENTATION = 0x0112  # in EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
WHITE = (255, 255, 255)  # behind what is transparent

_alone = threading.Lock()  # warnings are silenced for all threads together


def load_picture(source, enough=2048, name=None):
    """The pixels (H, W, 3) uint8 of a picture, upright, RGB as its file has them.

    source: a path, or the bytes of a file. enough: pixels that the shorter side needs; a JPEG that has more is decoded
    at a half, a fourth or an eighth of its size where that leaves as many, which is faster. name: what an upload is
    called in messages.

    Raises UserError where there is no such file, where it is not a picture of one of the FORMATS or damaged, and where
    it is too large; that is found out before anything is decoded.
    """
    name = quoted(name or (source if isinstance(source, str | Path) else "the picture"), 150)
    content = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else _content(source, name)
    if len(content) > MOST_BYTES:
        raise UserError(f"{name} has more than {MOST_BYTES >> 20} MiB, too many for a picture: make it smaller")
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow tells of large sizes, which are checked here, and of odd EXIF
        picture = _opened(content, name)
        try:
            return _decoded(picture, enough)
        except Exception as error:  # Pillow's decoders raise what a broken file leads them to
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise UserError(f"{name} is damaged and cannot be decoded ({reason}): save it again") from None


def _content(path, name):
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise UserError(f"{name} is not a file: give a picture, JPEG, PNG or WebP")
        with open(path, "rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"there is no picture {name}: give the path of a JPEG, PNG or WebP") from None
    except ValueError:  # a path with a null character
        raise UserError(f"{name} is not a path: give that of a JPEG, PNG or WebP") from None


def _opened(content, name):
    """A Pillow image of which only the header was read. Raises UserError where that tells that it will not do."""
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise _too_large(name, "more") from None
    except Exception:  # as above
        raise UserError(f"{name} is not a picture that can be read here: give a JPEG, PNG or WebP") from None
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width:,} x {height:,}, more")
    if min(width, height) < LEAST_SIDE:
        raise UserError(f"{name} has {width} x {height} pixels, and needs {LEAST_SIDE} on each side: give a larger one")
    if picture.format == "JPEG" and content.count(START_OF_SCAN) > MOST_SCANS:
        raise UserError(f"{name} has more scans than a JPEG needs, which would take long: save it again")
    return picture


def _too_large(name, found):
    return UserError(f"{name} has {found} pixels than the {MOST_PIXELS // 1_000_000} million that are read here: make "
                     "it smaller")


def _decoded(picture, enough):
    picture.draft("RGB", (enough, enough))
    orientation = _orientation(picture)
    picture = _rgb(picture)
    return np.array(picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture)


def _orientation(picture):
    try:
        return picture.getexif().get(ORIENTATION)
    except Exception:  # a picture whose EXIF is broken is upright
        return None


def _rgb(picture):
    if picture.mode.startswith("I"):  # 16 bits
        picture = Image.fromarray((np.asarray(picture, np.int64).clip(0, 0xFFFF) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    background = Image.new("RGB", picture.size, WHITE)
    background.paste(picture, mask=picture.getchannel("A"))
    return background
