"""Frames into JPEG, strips and GIF: the pixel rule, sizes, which frames, and what an interruption leaves."""

import numpy as np
import pytest
import torch
from PIL import Image

from lib.pixels import to_uint8
from lib.walking import pictures
from lib.walking.pictures import (
    film_cell,
    film_frames,
    gif_image,
    join_gif,
    save_film,
    save_gif,
    save_jpeg,
    save_strip,
    strip_indices,
)
from models.errors import UserError


@pytest.fixture
def frames():
    """(9, 32, 32, 3) uint8: a smooth picture that darkens from frame to frame."""
    y, x = np.mgrid[0:32, 0:32]
    base = np.stack([4 * x + 60, 4 * y + 60, 2 * (x + y) + 60], axis=-1)
    return np.stack([base * (1 - 0.08 * i) for i in range(9)]).astype(np.uint8)


def test_pixels_follow_the_fixed_rule():
    values = torch.tensor([-7.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5])
    images = values.expand(2, 3, 4, 7)
    pixels = to_uint8(images)
    assert pixels.dtype == np.uint8 and pixels.shape == (2, 4, 7, 3)
    assert pixels[0, 0, :, 0].tolist() == [0, 0, 64, 128, 159, 255, 255]


def test_every_level_survives_the_way_to_floats_and_back():
    levels = torch.arange(256)
    images = (levels / 127.5 - 1).expand(3, 1, 256)
    assert to_uint8(images)[0, :, 0].tolist() == levels.tolist()


def test_channels_move_last():
    image = torch.stack([torch.full((2, 5), value) for value in (-1.0, 0.0, 1.0)])
    assert to_uint8(image)[1, 3].tolist() == [0, 128, 255]


def test_an_image_does_not_depend_on_its_neighbours():
    dim, bright = torch.full((3, 4, 4), -0.2), torch.rand(3, 4, 4)
    assert (to_uint8(torch.stack([dim, bright]))[0] == to_uint8(dim)).all()
    assert to_uint8(dim).max() == 102  # a dim image stays dim: nothing stretches it


def test_half_precision_on_a_graph_is_fine_and_nan_is_not():
    assert to_uint8(torch.zeros(3, 2, 2, dtype=torch.half, requires_grad=True)).max() == 128
    with pytest.raises(UserError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]).expand(3, 1, 2))


def test_jpeg_keeps_or_takes_a_size(frames, tmp_path):
    save_jpeg(frames[0], tmp_path / "deep" / "as_is.jpg")
    save_jpeg(frames[0], tmp_path / "small.jpg", size=16)
    as_is = Image.open(tmp_path / "deep" / "as_is.jpg")
    assert as_is.format == "JPEG" and as_is.size == (32, 32)
    assert np.abs(np.asarray(as_is).astype(int) - frames[0]).mean() < 1.5
    assert Image.open(tmp_path / "small.jpg").size == (16, 16)


def test_jpeg_quality_is_passed_on(frames, tmp_path):
    save_jpeg(frames[0], tmp_path / "good.jpg")
    save_jpeg(frames[0], tmp_path / "poor.jpg", quality=20)
    assert (tmp_path / "poor.jpg").stat().st_size < (tmp_path / "good.jpg").stat().st_size


@pytest.mark.parametrize("frames_per_path", [3, 11, 21, 41])
@pytest.mark.parametrize("count", [3, 5, 7, 9])
def test_an_odd_strip_has_both_ends_and_the_start(frames_per_path, count):
    shown = strip_indices(frames_per_path, count)
    assert shown[0] == 0 and shown[-1] == frames_per_path - 1
    assert (frames_per_path - 1) // 2 in shown
    assert len(set(shown)) == min(count, frames_per_path)
    assert [frames_per_path - 1 - i for i in reversed(shown)] == shown


def test_strips_at_the_limits():
    assert strip_indices(9, 4) == [0, 3, 5, 8]
    assert strip_indices(9, 1) == [4]
    assert strip_indices(3, 7) == [0, 1, 2]
    assert strip_indices(1, 5) == [0]
    with pytest.raises(ValueError, match="at least one"):
        strip_indices(9, 0)


def test_strip_shows_its_frames_in_order(frames, tmp_path):
    save_strip(frames, tmp_path / "strip.jpg", count=3, height=16)
    strip = np.asarray(Image.open(tmp_path / "strip.jpg")).astype(int)
    assert strip.shape == (16, 48, 3)
    for position, i in enumerate([0, 4, 8]):
        assert abs(strip[:, 16 * position:16 * (position + 1)].mean() - frames[i].mean()) < 2


def test_a_strip_wider_than_jpeg_allows_is_refused(frames, tmp_path):
    with pytest.raises(ValueError, match="fewer frames"):
        save_strip(frames, tmp_path / "strip.jpg", count=9, height=8192)
    assert not list(tmp_path.iterdir())


def test_a_film_shows_each_frame_as_a_picture_of_its_own_does(frames, tmp_path):
    save_film(frames, tmp_path / "film.jpg", quality=80)
    with Image.open(tmp_path / "film.jpg") as film:
        assert film.size == (3 * 32, 3 * 32)
    shown = film_frames(tmp_path / "film.jpg", len(frames))
    for frame, found in zip(frames, shown, strict=True):
        save_jpeg(frame, tmp_path / "alone.jpg", quality=80)
        assert (found == np.asarray(Image.open(tmp_path / "alone.jpg"))).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8])
def test_a_film_has_room_for_any_number_of_frames(count, frames, tmp_path):
    save_film(frames[:count], tmp_path / "film.jpg")
    shown = film_frames(tmp_path / "film.jpg", count)
    assert [abs(a.astype(int) - b).mean() < 3 for a, b in zip(shown, frames, strict=False)] == [True] * count


def test_frames_of_a_film_fill_blocks_and_those_of_long_paths_are_smaller(frames, monkeypatch):
    assert film_cell(frames[0], 9).size == (32, 32)
    assert film_cell(frames[0, :20, :30], 9).size == (32, 24)
    assert film_cell(frames[0], 9, size=20).size == (24, 24)
    monkeypatch.setattr(pictures, "FILM_PIXELS", 9 * 16 * 16)
    assert film_cell(frames[0], 9).size == (16, 16)
    assert film_cell(frames[0], 200_001).size == (8, 8)


def gif_frames(path):
    """Its frames as RGB arrays, and the durations in milliseconds."""
    with Image.open(path) as gif:
        pictures = []
        for i in range(gif.n_frames):
            gif.seek(i)
            pictures.append((np.asarray(gif.convert("RGB")).astype(int), gif.info["duration"]))
        return *zip(*pictures), gif.info.get("loop")


def test_gif_goes_there_and_back_for_ever(frames, tmp_path):
    save_gif(frames, tmp_path / "path.gif", height=32, fps=20)
    pictures, durations, loop = gif_frames(tmp_path / "path.gif")
    order = [0, 1, 2, 3, 4, 5, 6, 7, 8, 7, 6, 5, 4, 3, 2, 1]
    assert len(pictures) == len(order) and set(durations) == {50} and loop == 0
    for picture, i in zip(pictures, order):
        assert np.abs(picture - frames[i]).mean() < 5


def test_gif_takes_a_height_and_stays_within_what_browsers_play(frames, tmp_path):
    save_gif(frames[:, :, :16], tmp_path / "fast.gif", height=64, fps=1000)
    pictures, durations, _ = gif_frames(tmp_path / "fast.gif")
    assert pictures[0].shape == (64, 32, 3) and set(durations) == {20}


def test_gif_of_one_frame(frames, tmp_path):
    save_gif(frames[:1], tmp_path / "one.gif", height=32, fps=10)
    assert Image.open(tmp_path / "one.gif").n_frames == 1


def interrupted_after(image):
    yield image
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [
    lambda frames, path: save_jpeg(frames[0], path),
    lambda frames, path: save_strip(frames, path, count=3, height=16),
    lambda frames, path: join_gif(interrupted_after(gif_image(frames[0], height=32, fps=10)), path),
])
@pytest.mark.parametrize("before", [None, b"an earlier, whole file"])
def test_an_interrupted_write_leaves_what_was_there(write, before, frames, tmp_path, monkeypatch):
    def interrupted(self, file, *args, **kwargs):
        file.write(b"half")
        raise KeyboardInterrupt

    target = tmp_path / "target"
    if before:
        target.write_bytes(before)
    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(frames, target)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([before] if before else [])


def test_titles_stand_above_the_columns_of_a_sheet_and_change_nothing_below(tmp_path):
    files = []
    for i in range(4):
        files.append(tmp_path / f"{i}.jpg")
        pictures.save_jpeg(np.full((16, 16, 3), 60 * i, np.uint8), files[-1])
    pictures.save_sheet(files, tmp_path / "plain.jpg", columns=2)
    pictures.save_sheet(files, tmp_path / "titled.jpg", columns=2, titles=["start", "3: smiling"])
    plain, titled = (np.asarray(Image.open(tmp_path / f"{name}.jpg"), int) for name in ("plain", "titled"))
    top = len(titled) - len(plain)
    assert top == 40 and np.array_equal(titled[top:], plain)
    written = [column.min() for column in np.split(titled[:top, :, 0], 2, axis=1)]
    assert max(written) < 100  # there are letters in both


@pytest.mark.parametrize("title, lines", [
    ("smiling", ["smiling"]),
    ("with a red hat", ["with a red", "hat"]),
    ("one two three four five six", ["one two", "three four…"]),
    ("unpronounceable", ["unpronounc…"]),
    ("a unpronounceable word", ["a", "unpronounc…"]),
])
def test_a_title_is_cut_to_two_lines_that_fit(title, lines):
    assert pictures.title_lines(title, lambda line: len(line) <= 11) == lines
