"""The files of a path, and the processes that write them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from lib.settings import WalkSettings
from lib.walking import pictures
from lib.walking.encoding import Encoders, PathFiles, sound
from models.errors import UserError

PICTURES = WalkSettings(film=True, strip=True, strip_number=3, strip_height=16, gif=True, gif_height=24, gif_fps=20)


@pytest.fixture
def frames():
    """(7, 32, 32, 3) uint8 that differ."""
    y, x = np.mgrid[0:32, 0:32]
    return np.stack([np.stack([7 * x, 7 * y, 0 * x + 30 * i], axis=-1) for i in range(7)]).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    return PathFiles(tmp_path / "code", 0, 7, PICTURES)


def contents(directory):
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def write(path, frames, workers=0, parts=(slice(0, 4), slice(4, 7))):
    indices = list(range(len(frames)))
    with Encoders(workers) as encoders:
        for part in parts:
            encoders.write(path, indices[part], frames[part])
        encoders.close(path)
        assert list(encoders.finished()) == [path]


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_those_of_the_whole_path_at_once(workers, path, frames, tmp_path):
    write(path, frames, workers)
    expected = tmp_path / "expected"
    for i, frame in enumerate(frames):
        pictures.save_jpeg(frame, expected / "paths_images" / "path_000" / f"{i:06d}.jpg")
    pictures.save_jpeg(frames[3], expected / "original_image.jpg")
    pictures.save_film(frames, expected / "paths_strips" / "path_000_film.jpg")
    pictures.save_strip(frames, expected / "paths_strips" / "path_000_strip.jpg", 3, 16)
    pictures.save_gif(frames, expected / "paths_strips" / "path_000.gif", 24, 20)
    assert contents(path.directory) == contents(expected)
    assert path.complete()


def test_nothing_but_what_is_missing_is_made(path, frames):
    assert path.lacking() == set(range(7))
    write(path, frames)
    before = contents(path.directory)
    path.image(2).unlink()
    path.strip.unlink()
    assert path.lacking() == {0, 2, 3, 6} and not path.complete()
    path.gif.write_bytes(path.gif.read_bytes()[:-9])  # cut short
    assert path.lacking() == set(range(7))
    path.film.unlink()
    kept = path.image(1).stat()
    write(path, frames)
    assert contents(path.directory) == before
    assert path.image(1).stat() == kept


def test_single_frames_are_made_where_asked_for_alone(path, frames, tmp_path):
    path = PathFiles(tmp_path / "code", 1, 7, replace(PICTURES, frames=False))
    write(path, frames)
    expected = {f"paths_strips/path_001{end}" for end in ("_film.jpg", "_strip.jpg", ".gif")}
    assert set(contents(path.directory)) == expected
    assert path.complete()
    path.film.unlink()
    assert path.lacking() == set(range(7))
    start = PathFiles(tmp_path / "code", 0, 7, replace(PICTURES, frames=False, film=False, strip=False, gif=False))
    assert start.lacking() == {3}
    write(start, frames)
    assert start.complete() and start.original.is_file()


def test_parts_that_were_left_are_used(path, frames):
    path.write([0, 1, 2], frames[:3])
    assert path.lacking() == {3, 4, 5, 6}
    path.write([3, 4, 5, 6], frames[3:])
    assert path.lacking() == set() and not path.complete()  # the strip and the animation are to be joined
    path.join()
    assert path.complete() and not path.parts.exists()


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-1], lambda whole: bytes(len(whole))])
def test_damaged_pictures_are_found(damage, path, frames):
    path.write([3], frames[3:4])
    for file in (path.image(3), path.original, path.film_cell(3), path.cell(3), path.gif_image(3)):
        assert sound(file)
        file.write_bytes(damage(file.read_bytes()))
        assert not sound(file)
    assert not sound(path.gif)  # missing


def test_processes_do_without_torch_and_the_pages(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import sys
from lib.walking.encoding import Encoders

def unneeded():
    return sorted({"torch", "jinja2"} & set(sys.modules))

if __name__ == "__main__":
    with Encoders(1) as encoders:
        print(encoders.pool.submit(unneeded).result())
""")
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    output = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=60)
    assert output.stdout == "[]\n", output.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_ends_the_whole_and_names_the_file(workers, path, frames):
    path.directory.parent.joinpath("code").write_text("no directory")
    with pytest.raises(OSError) as failure:
        write(path, frames, workers)
    assert "code" in str(failure.value.filename)


def test_a_process_that_is_killed_is_told(path, frames):
    with pytest.raises(UserError, match="--workers"), Encoders(1) as encoders:
        os.kill(encoders.pool.submit(os.getpid).result(), signal.SIGKILL)
        for _ in range(100):
            encoders.write(path, [0], frames[:1])
            list(encoders.finished())
            time.sleep(0.05)


def test_frames_under_way_are_bounded(path, frames):
    with Encoders(1) as encoders:
        for i in range(7):
            encoders.write(path, [i], frames[i : i + 1])
            list(encoders.finished(most=2))
            assert sum(count for _, count, _ in encoders.jobs.values()) <= 2
        encoders.close(path)
        list(encoders.finished())
    assert path.complete()
