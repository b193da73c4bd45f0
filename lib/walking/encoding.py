"""The picture files of paths, written by other processes while the generator makes the next frames.

    <code>/original_image.jpg                                   the start of every path
    <code>/paths_images/path_000/000000.jpg ...
    <code>/paths_strips/path_000_film.jpg, path_000_strip.jpg, path_000.gif
    <code>/paths_strips/.path_000/000000.film.png, 000000.png, 000000.gif ...
                                      the cells of a film and of a strip, and an animation's images, until joined

Every file is written whole or not at all, so a file that exists is intact, except after a power cut, which `sound`
detects. The processes import this module: nothing in it may import torch.
"""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lib.files import replacing
from lib.settings import WalkSettings
from lib.walking.pictures import (
    GIF_TRAILER,
    film_cell,
    gif_image,
    join_film,
    join_gif,
    join_strip,
    save_jpeg,
    strip_cell,
    strip_indices,
    there_and_back,
)
from models import directories
from models.errors import UserError

ENDS = {".jpg": b"\xff\xd9", ".gif": GIF_TRAILER, ".png": b"IEND\xaeB`\x82"}
# A job has enough frames to make handing them over cheap, and few enough to keep all processes busy.
JOB_FRAMES, JOB_BYTES = 8, 2**20


def sound(file):
    """Whether a picture exists and ends as its format requires."""
    end = ENDS[file.suffix]
    try:
        with open(file, "rb") as content:
            content.seek(-len(end), os.SEEK_END)
            return content.read() == end
    except OSError:  # missing, or shorter than the ending
        return False


@dataclass(frozen=True, eq=False)
class PathFiles:
    """The files of path k, which has `count` frames, in a code's directory, and with path 0 the image that all paths
    start at. settings: `WalkSettings`."""

    directory: Path
    k: int
    count: int
    settings: WalkSettings

    @property
    def original(self):
        return self.directory / "original_image.jpg"

    @property
    def film(self):
        return self.directory / "paths_strips" / f"path_{self.k:03d}_film.jpg"

    @property
    def strip(self):
        return self.directory / "paths_strips" / f"path_{self.k:03d}_strip.jpg"

    @property
    def gif(self):
        return self.directory / "paths_strips" / f"path_{self.k:03d}.gif"

    @property
    def parts(self):
        return self.directory / "paths_strips" / f".path_{self.k:03d}"

    def image(self, i):
        return self.directory / "paths_images" / f"path_{self.k:03d}" / f"{i:06d}.jpg"

    def film_cell(self, i):
        return self.parts / f"{i:06d}.film.png"

    def cell(self, i):
        return self.parts / f"{i:06d}.png"

    def gif_image(self, i):
        return self.parts / f"{i:06d}.gif"

    def _lacks_original(self):
        return self.k == 0 and not sound(self.original)

    def _lacks_film(self):
        return self.settings.film and not sound(self.film)

    def _lacks_strip(self):
        return self.settings.strip and not sound(self.strip)

    def _lacks_gif(self):
        return self.settings.gif and not sound(self.gif)

    def _strip_indices(self):
        return strip_indices(self.count, self.settings.strip_number)

    def lacking(self):
        """The indices (a set) of the frames that are needed, because a file made of that frame alone is missing."""
        files = [[self.image(i)] if self.settings.frames else [] for i in range(self.count)]
        if self._lacks_original():
            files[self.count // 2].append(self.original)
        if self._lacks_film():
            for i in range(self.count):
                files[i].append(self.film_cell(i))
        if self._lacks_strip():
            for i in self._strip_indices():
                files[i].append(self.cell(i))
        if self._lacks_gif():
            for i in range(self.count):
                files[i].append(self.gif_image(i))
        return {i for i in range(self.count) if not all(map(sound, files[i]))}

    def complete(self):
        return not (self._lacks_film() or self._lacks_strip() or self._lacks_gif() or self.lacking())

    def write(self, indices, frames):
        """Write the missing files that are made of one of the frames (n, H, W, 3) uint8 alone."""
        settings, film, gif = self.settings, self._lacks_film(), self._lacks_gif()
        cells = self._strip_indices() if self._lacks_strip() else []
        for i, frame in zip(indices, frames):
            alone = [self.image(i)] if settings.frames else []
            if i == self.count // 2 and self._lacks_original():
                alone.append(self.original)
            for file in alone:
                if not sound(file):
                    save_jpeg(frame, file, settings.img_size, settings.img_quality)
            if film and not sound(self.film_cell(i)):
                _save_cell(film_cell(frame, self.count, settings.img_size), self.film_cell(i))
            if i in cells and not sound(self.cell(i)):
                _save_cell(strip_cell(frame, settings.strip_height), self.cell(i))
            if gif and not sound(self.gif_image(i)):
                with replacing(self.gif_image(i), durable=False) as file:
                    file.write(gif_image(frame, settings.gif_height, settings.gif_fps))

    def join(self):
        """Join the film, the strip and the animation from the parts that `write` has made, and remove the parts."""
        if self._lacks_film():
            cells = (Image.open(self.film_cell(i)) for i in range(self.count))
            join_film(cells, self.count, self.film, self.settings.img_quality)
        if self._lacks_strip():
            shown = self._strip_indices()
            join_strip((Image.open(self.cell(i)) for i in shown), len(shown), self.strip)
        if self._lacks_gif():
            order = there_and_back(range(self.count))
            join_gif((self.gif_image(i).read_bytes() for i in order), self.gif)
        directories.remove(self.parts)


def _save_cell(picture, path):
    with replacing(path, durable=False) as file:
        picture.save(file, "PNG", compress_level=0)


class Encoders:
    """Writes paths in `workers` processes while the caller continues; with 0 workers, in the caller's process.

    A context manager, which ends the processes. An error in one of them is raised at the caller's next call.
    """

    def __init__(self, workers):
        self.workers = workers
        self.pool = _begin_processes(workers) if workers else None
        self.jobs = {}  # future: (path, number of frames, whether it joins the parts)
        self.awaited = {}  # path: how many of its jobs must end before its parts are joined, plus one for `close`

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        if self.pool:
            self.pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise UserError("a process that wrote pictures was killed, perhaps for lack of memory: run the command "
                            "again, with fewer --workers; it resumes where it stopped") from None

    def write(self, path, indices, frames):
        """Hand over frames (n, H, W, 3) uint8 of a path."""
        step = max(1, min(JOB_FRAMES, JOB_BYTES // frames[0].nbytes))
        self.awaited.setdefault(path, 1)
        for start in range(0, len(frames), step):
            part = slice(start, start + step)
            self.awaited[path] += 1
            self._submit(path, len(indices[part]), False, path.write, indices[part], frames[part])

    def close(self, path):
        """Declare that all frames of a path have been handed over."""
        self.awaited.setdefault(path, 1)
        self._settle(path)

    def finished(self, most=0):
        """Yield the paths whose files are all written, and wait until at most `most` frames are in progress."""
        while self.jobs:
            done = [job for job in self.jobs if job.done()]
            for job in done:
                path, _, joined = self.jobs.pop(job)
                job.result()
                if joined:
                    yield path
                else:
                    self._settle(path)
            if not done:
                if sum(count for _, count, _ in self.jobs.values()) <= most:
                    return
                wait(self.jobs, return_when=FIRST_COMPLETED)

    def _settle(self, path):
        self.awaited[path] -= 1
        if not self.awaited[path]:
            del self.awaited[path]
            self._submit(path, 1, True, path.join)

    def _submit(self, path, count, joined, function, *args):
        if self.pool:
            job = self.pool.submit(function, *args)
        else:
            job = Future()
            job.set_result(function(*args))
        self.jobs[job] = path, count, joined


def default_workers():
    """One process per core, divided among the processes that torchrun has started on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _begin_processes(workers):
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin_process,
                               [directories.all_held()])
    # Ctrl-C goes to all processes of a terminal. These inherit a mask that blocks it, and the parent ends them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        for _ in range(workers):
            pool.submit(os.getpid)  # starts a process, which loads its modules while the first frames are made
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def _begin_process(held):
    directories.hold_again(held)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """Ends this process with its parent, which cannot do it when it is killed."""
    multiprocessing.parent_process().join()
    os._exit(1)
