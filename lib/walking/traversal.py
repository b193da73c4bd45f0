"""Walking learned paths: the frames of the codes along them, and the files of both.

    <exp>/results/<pool>/<2 * shift_steps>_<eps>_<total length>/
        index.html, results.md, results_strips.md
        <sha1 of the code>/
            original_image.jpg
            paths_strips/path_000_film.jpg            all frames, from the second sentence's end to the first's
            paths_strips/path_000_strip.jpg, path_000.gif, paths_images/path_000/000000.jpg ...
            paths_latent_codes.pt                     (K, frames, z_dim) or (K, frames, num_layers, w_dim)
            settings.json                             how it was made
"""

import fcntl
import os
import shutil
import weakref
from dataclasses import replace
from itertools import groupby, islice

import torch

from lib.files import save_tensors, write_json
from lib.paths.tracing import trace
from lib.pools import read_code
from lib.settings import FILM, GIF, PICTURES, SHOWING, STRIP, WalkSettings, read_object
from lib.walking.encoding import Encoders, PathFiles
from lib.walking.synthesis import Synthesiser, default_batch_size
from models import directories
from models.errors import UserError

# At most this many codes or bytes are traced together, so that memory does not grow with the number of codes.
TRACED_CODES, TRACED_BYTES = 64, 2**26
HEIGHT = 256  # pixels, of strips and animations, but not more than twice that of the images
MOST_REPEATED = 2**27  # bytes of a code's paths that are saved without repeating a w
FILES = {GIF: "*.gif", STRIP: "*_strip.jpg"}  # of the pictures that have settings of their own


def kept_and_wanted(made, settings):
    """The given settings, plus those of the kinds of pictures that exist: a walk removes none, and makes them again
    where they show something else now.

    made: the `WalkSettings` of what exists, or None. Results of single frames without a film, as earlier versions left
    them, need none.
    """
    if made is None:
        return settings
    kept = {}
    for kind in PICTURES:
        if getattr(made, kind) and not getattr(settings, kind):
            kept |= made.part(kind)
    if made.frames and not made.film:
        kept[FILM] = False
    return replace(settings, **kept)


class CodeResults:
    """Everything that is made of one code, in a hidden directory that is renamed once it is complete."""

    def __init__(self, directory, num_paths, settings, height=HEIGHT):
        """settings: `WalkSettings`. height: of strips and animations, where neither these nor what exists say it."""
        self.target, self.partial = directory, directory.with_name(f".{directory.name}.partial")
        self.made = _settings_in(self.target, settings)
        self.num_paths, self.count = num_paths, settings.frames_per_path
        before = self.made or replace(settings, gif_height=height, strip_height=height)
        self.settings = kept_and_wanted(self.made, settings.kept_from(before))
        self.unfinished = num_paths
        self.complete = self.made == self.settings and self._is_whole()

    def _is_whole(self):
        codes = self.target / "paths_latent_codes.pt"
        return codes.is_file() and all(path.complete() for path in self._paths(self.target))

    def _paths(self, directory):
        return [PathFiles(directory, k, self.count, self.settings) for k in range(self.num_paths)]

    def begin(self):
        """Prepare the directory, keeping what exists already with these settings; returns the files of each path.

        Raises UserError if another process is making it.
        """
        self._claim()
        if _settings_in(self.partial, self.settings) != self.settings:
            directories.empty(self.partial)
            self._take_over()
            write_json(self.settings.to_json(), self.partial / "settings.json")
        directories.remove_partial(self.partial)  # left behind by a process that was killed
        return self._paths(self.partial)

    def _claim(self):
        directories.hold(self.partial, make=True)
        lock = directories.open_directory(self.partial)
        self.release = weakref.finalize(self, _let_go, self.partial, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another process is making {self.target}: wait for it") from None

    def _take_over(self):
        """Keep what shows the same, except animations or strips with other settings."""
        made, settings = self.made, self.settings
        if made is None or made.part(SHOWING) != settings.part(SHOWING):
            return
        old = [files for kind, files in FILES.items() if made.part(kind) != settings.part(kind)]
        left_out = shutil.ignore_patterns("settings.json", *old)
        shutil.copytree(self.target, self.partial, copy_function=_link, dirs_exist_ok=True,
                        ignore=lambda directory, names: {*left_out(directory, names), *_links(directory, names)})

    def finish(self, paths):
        """Write the remaining files of the code and move everything to its place. paths (K, frames, ...): the codes."""
        save_tensors(_without_repetition(paths.cpu()), self.partial / "paths_latent_codes.pt")
        directories.remove(self.target)
        directories.rename(self.partial, self.target)
        self.release()


def _without_repetition(paths):
    """Paths (K, frames, ...), which in W are codes (num_layers, w_dim) of one w, as a tensor that is saved with that w
    alone: equal to them, with a stride of 0. Others, and those that `load_tensors` would find too large, are copied."""
    if paths.ndim == 4 and paths.nbytes <= MOST_REPEATED and (paths == paths[:, :, :1]).all():
        return paths[:, :, :1].clone().expand(paths.shape)
    return paths.clone()


def _let_go(directory, lock):
    directories.release(directory)
    os.close(lock)


def _links(directory, names):
    return {name for name in names if os.path.islink(os.path.join(directory, name))}


def _settings_in(directory, settings):
    """The `WalkSettings` that a code's directory was made with, with the facts of `settings` that it does not know;
    None if it has no settings.json."""
    file = directory / "settings.json"
    if not file.is_file():
        return None
    return WalkSettings.read(read_object(file), file).with_facts_of(settings)


def _link(source, target):
    """A hard link, or a copy where the file system has no links. (Files here are replaced, never modified.)"""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def traverse(space, paths, sources, results, settings, batch_size=None, workers=0):
    """Walk all paths from the codes of a pool and write them below `results`; yields after each path of each code.

    sources: the codes' directories. settings: `WalkSettings`. batch_size: images at a time; workers: processes that
    encode them. A code's directory appears whole or not at all. What exists already is not made again: a directory that
    is complete is left as it is, and one that lacks something gets it and keeps its animations and strips.

    Which codes are traced together, and which images are made together, depends on `sources` and `batch_size`, not on
    what exists already, so that a run that was interrupted ends with the same bytes as one that was not.
    """
    num_paths, count, w_space = paths.num_paths, settings.frames_per_path, settings.w_space
    synthesise = Synthesiser(space.synthesise, batch_size or default_batch_size(space.generator))
    if not sources:
        return
    code_bytes = num_paths * count * read_code(sources[0], space, w_space).nbytes
    at_once = max(1, min(TRACED_CODES, TRACED_BYTES // code_bytes))
    height = min(HEIGHT, 2 * (settings.img_size or space.resolution or space.generator.resolution))
    with Encoders(workers) as encoders:
        for group in _batches(sources, at_once):
            codes = [CodeResults(results / source.name, num_paths, settings, height) for source in group]
            for code in codes:
                if code.complete:
                    yield from range(num_paths)
            if all(code.complete for code in codes):
                continue
            starts = torch.cat([read_code(source, space, w_space) for source in group])
            traced = trace(space, paths, starts, settings.shift_steps, settings.eps, settings.shift_leap)
            yield from _render(codes, traced, synthesise, encoders)
            del traced  # before the next ones are traced


def _render(codes, traced, synthesise, encoders):
    """Make the missing pictures of the codes' traced paths (codes, K, frames, ...); yields after each path."""
    batch_size, latents, begun = synthesise.batch_size, traced.flatten(0, 2), {}

    def written(most=0):
        for path in encoders.finished(most):
            code = begun.pop(path)
            codes[code].unfinished -= 1
            if not codes[code].unfinished:
                codes[code].finish(traced[code])
            yield path

    for first, batch in zip(range(0, len(latents), batch_size), _batches(_frames(codes, begun), batch_size)):
        needed = [n for n, (_, _, is_needed) in enumerate(batch) if is_needed]
        if needed:
            yield from written(most=max(batch_size, 2 * encoders.workers))
            frames = synthesise(latents[first : first + len(batch)])
            for path, run in groupby(needed, key=lambda n: batch[n][0]):
                run = list(run)
                encoders.write(path, [batch[n][1] for n in run], frames[run])
        for path, i, _ in batch:
            if path and i == path.count - 1:
                encoders.close(path)
    yield from written()


def _frames(codes, begun):
    """All frames in the order of the traced paths, as (path, index, whether it is needed). Begins each code in its
    turn, and notes in `begun` which code a path belongs to."""
    for number, code in enumerate(codes):
        paths = [None] * code.num_paths if code.complete else code.begin()
        for path in paths:
            lacking = path.lacking() if path else ()
            if path:
                begun[path] = number
            yield from ((path, i, i in lacking) for i in range(code.count))


def _batches(items, size):
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
