"""Frames into pictures: JPEG, films, strips, GIF.

The processes that encode frames import this module: nothing in it may import torch.
"""

import math
import struct

import numpy as np
from PIL import GifImagePlugin, Image, ImageDraw, ImageFont

from lib.files import replacing

FILM_PIXELS = 2**23  # of all frames together: a browser holds them in 32 MB
JPEG_BLOCK = 8       # pixels: what is compressed together
JPEG_WIDEST = 65500  # pixels: libjpeg's limit (JPEG_MAX_DIMENSION)
TITLE_LINES, TITLE_LINE, TITLE_SIZE = 2, 20, 14  # of a sheet's columns; pixels; together a multiple of a JPEG's blocks
GIF_SHORTEST = 2     # hundredths of a second: browsers show anything shorter for 10
GIF_TRAILER = b";"


def _picture(frame, height=None):
    """A frame (H, W, 3) uint8 as a PIL image, resampled to a height of `height`, in proportion."""
    picture = Image.fromarray(frame)
    if height is None or height == picture.height:
        return picture
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)


def save_jpeg(frame, path, size=None, quality=95):
    """Write a frame (H, W, 3) uint8. size: height in pixels, which is also the width of a square frame."""
    _save_jpeg(_picture(frame, size), path, quality)


def save_sheet(files, path, size=128, columns=8, titles=()):
    """Write the pictures in `files` side by side, each `size` pixels high and wide. titles: what stands above each
    column."""
    columns, top = min(columns, len(files)), TITLE_LINES * TITLE_LINE if titles else 0
    sheet = Image.new("RGB", (columns * size, top + -(-len(files) // columns) * size), "white")
    for i, file in enumerate(files):
        with Image.open(file) as picture:
            place = i % columns * size, top + i // columns * size
            sheet.paste(picture.convert("RGB").resize((size, size), Image.Resampling.LANCZOS), place)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TITLE_SIZE)
    for column, title in enumerate(titles):
        lines = title_lines(title, lambda text: draw.textlength(text, font) <= size - 8)
        for row, line in enumerate(lines, TITLE_LINES - len(lines)):
            place = (column + 0.5) * size, (row + 0.5) * TITLE_LINE
            draw.text(place, line, "black", font, anchor="mm")
    _save_jpeg(sheet, path)


def title_lines(title, fits):
    """The words of a title in at most `TITLE_LINES` lines that each `fits`, cut off with an ellipsis where there are
    more of them."""
    lines = [""]
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if fits(longer) or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    kept = lines[:TITLE_LINES]
    if len(lines) > TITLE_LINES:
        kept[-1] += "…"
    return [line if fits(line) else _shortened(line, fits) for line in kept]


def _shortened(line, fits):
    """The longest beginning of a line that fits with an ellipsis behind it."""
    line = line.removesuffix("…")
    return next((line[:end] + "…" for end in range(len(line), 0, -1) if fits(line[:end] + "…")), "…")


def _save_jpeg(picture, path, quality=95):
    with replacing(path, durable=False) as file:
        # Colours at full resolution: at half of it, JPEG's default, the eyes of a 64 px face turn grey.
        picture.save(file, "JPEG", quality=quality, subsampling="4:4:4")


def strip_indices(frames, count):
    """Indices of the `count` frames, out of `frames`, that a strip shows: evenly spaced, the first and the last one
    included; all of them if there are not more.

    An odd count always includes the middle frame; a count of one is just that frame.
    """
    if count < 1:
        raise ValueError(f"a strip shows at least one frame, not {count}")
    if count == 1:
        return [(frames - 1) // 2]
    return np.linspace(0, frames - 1, min(count, frames)).round().astype(int).tolist()


def save_strip(frames, path, count, height):
    """Write `count` of the frames (N, H, W, 3) uint8 side by side, `height` pixels high, as a JPEG.

    Raises ValueError if count is below 1, or if the strip would be wider than a JPEG can be.
    """
    shown = strip_indices(len(frames), count)
    join_strip((strip_cell(frames[i], height) for i in shown), len(shown), path)


def strip_cell(frame, height):
    """A frame (H, W, 3) uint8 as a strip shows it, a PIL image."""
    return _picture(frame, height)


def join_strip(cells, count, path):
    """Write `count` cells of `strip_cell`, from any iterable, side by side. Raises ValueError if the strip would be
    wider than a JPEG can be."""
    strip = None
    for i, cell in enumerate(cells):
        if strip is None:
            width = count * cell.width
            if width > JPEG_WIDEST:
                raise ValueError(f"a strip of {count} frames at {cell.height} pixels is {width} wide; JPEG allows "
                                 f"{JPEG_WIDEST}: show fewer frames, or smaller ones")
            strip = Image.new("RGB", (width, cell.height))
        strip.paste(cell, (i * cell.width, 0))
    _save_jpeg(strip, path)


def save_film(frames, path, size=None, quality=95):
    """Write the frames (N, H, W, 3) uint8 as a film: one JPEG of all, in rows of the smallest number of frames whose
    square is at least N. size: height of a frame in pixels.

    A frame's sides are multiples of a JPEG's blocks, so that no frame blurs into its neighbour: one of such sides looks
    the same in a film as in a picture of its own. Frames of a long path are smaller, about `FILM_PIXELS` in all.
    """
    join_film((film_cell(frame, len(frames), size) for frame in frames), len(frames), path, quality)


def film_cell(frame, count, size=None):
    """A frame (H, W, 3) uint8 as a film of `count` frames shows it, a PIL image."""
    picture = _picture(frame, size)
    scale = min(1, (FILM_PIXELS / (count * picture.width * picture.height)) ** 0.5)
    sides = tuple(math.ceil(side * scale / JPEG_BLOCK) * JPEG_BLOCK for side in picture.size)
    return picture if picture.size == sides else picture.resize(sides, Image.Resampling.LANCZOS)


def join_film(cells, count, path, quality=95):
    """Write `count` cells of `film_cell`, from any iterable, as a film."""
    film, columns = None, math.isqrt(count - 1) + 1
    for i, cell in enumerate(cells):
        if film is None:
            film = Image.new("RGB", (columns * cell.width, -(-count // columns) * cell.height))
        film.paste(cell, (i % columns * cell.width, i // columns * cell.height))
    _save_jpeg(film, path, quality)


def film_frames(path, count):
    """The `count` frames (H, W, 3) uint8 of a film, in order."""
    columns = math.isqrt(count - 1) + 1
    with Image.open(path) as film:
        width, height = film.width // columns, film.height // -(-count // columns)
        places = [(i % columns * width, i // columns * height) for i in range(count)]
        return [np.asarray(film.crop((x, y, x + width, y + height))) for x, y in places]


def save_gif(frames, path, height, fps):
    """Write the frames (N, H, W, 3) uint8 as an animation `height` pixels high, which goes there and back in a loop.

    The ends are not repeated: N frames make 2N - 2. Each frame has its own palette, dithered. On a path whose colours
    change, one palette for all frames was 4 to 6 times further from them (mean squared error) and grainy, with files
    that were only 8% to 16% smaller.
    """
    join_gif(there_and_back([gif_image(frame, height, fps) for frame in frames]), path)


def there_and_back(items):
    """a, b, c, d -> a, b, c, d, c, b: one round of a loop that goes there and back."""
    return [*items, *items[-2:0:-1]]


def gif_image(frame, height, fps):
    """A frame (H, W, 3) uint8 as the bytes of a GIF of one image, `height` pixels high."""
    picture = _with_palette(_picture(frame, height))
    duration = 10 * max(GIF_SHORTEST, round(100 / fps))
    image = b"".join(GifImagePlugin.getdata(picture, duration=duration, include_color_table=True))
    return _gif_header(*picture.size) + image + GIF_TRAILER


def _gif_header(width, height):
    """Header, logical screen (8 bits per primary colour, no global palette), and the extension for an endless loop."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0) + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"


def join_gif(images, path):
    """Write GIFs of `gif_image`, from any iterable of bytes, as one animation."""
    with replacing(path, durable=False) as file:
        for part in gif_parts(images):
            file.write(part)


def gif_parts(images):
    """The bytes of one animation, part by part, of GIFs of `gif_image`, from any iterable of bytes.

    Their image data are concatenated unchanged: no frame is compressed twice, and only one is in memory at a time.
    (Storing only the differences between frames saves nothing, as each is dithered separately: measured.)
    """
    start = len(_gif_header(0, 0))
    for i, image in enumerate(images):
        yield image[start if i else 0 : -len(GIF_TRAILER)]
    yield GIF_TRAILER


def _with_palette(picture):
    """An RGB picture in 256 colours. Two steps, since Pillow dithers only when it is given a palette."""
    palette = picture.quantize(256, Image.Quantize.FASTOCTREE)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
