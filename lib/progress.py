"""Shows how a run goes while it is trained: the loss curve, and pictures of what one path does by now.

What it costs stays below SHARE of the run's time, but for the pictures at the start and at the end.
"""

import time
from contextlib import suppress

import torch

from lib.draws import generator_for
from lib.pages.progress import Progress, strip_file, write_progress
from lib.paths.tracing import trace
from lib.settings import WalkSettings
from lib.walking.pictures import save_strip
from lib.walking.synthesis import Synthesiser, default_batch_size
from models.errors import UserError

CODES, COLUMNS, STEPS = 3, 5, 16
PICTURES = 8  # at most, between the start and the end of a run
HEIGHT = 128  # pixels of an image, at most
SHARE = 0.01
STREAM = 9  # of `generator_for`: what the codes are drawn from


class OnePath:
    """One of the paths, as `trace` walks it."""

    num_paths = 1

    def __init__(self, paths, k):
        self.paths, self.k = paths, k
        self.from_start = getattr(paths, "from_start", False)

    def __call__(self, positions, indices):
        return self.paths(positions, torch.full_like(indices, self.k))


class Watch:
    """A watcher of `lib.training.trainer.train`, which writes progress.html and its pictures."""

    PATH = 0

    def __init__(self, experiment, method):
        """experiment: claimed, with the facts of its run. method: with `trained` made."""
        self.experiment, self.method, self.settings = experiment, method, experiment.settings
        self.spent = self.picture_cost = self.page_cost = self.written = 0.0
        checkpoints = self.settings.max_iter // self.settings.ckp_freq
        self.every = max(1, -(-checkpoints // PICTURES)) * self.settings.ckp_freq

    def begun(self, iteration, stats):
        self.started, self.first = time.monotonic(), iteration
        if iteration == 0:
            self._picture(iteration)
        self._page(iteration, stats)

    def logged(self, iteration, stats):
        if time.monotonic() - self.written > self.page_cost / SHARE:
            self._page(iteration, stats)

    def saved(self, iteration, stats):
        affordable = self.spent + self.picture_cost <= SHARE * (time.monotonic() - self.started)
        if iteration % self.every == 0 and affordable and iteration < self.settings.max_iter:
            self._picture(iteration)
            self._page(iteration, stats)

    def ended(self, iteration, stats):
        self._picture(iteration)
        self._page(iteration, stats, running=False)

    def _page(self, iteration, stats, running=True):
        begun, done = time.monotonic(), iteration - self.first
        left = (begun - self.started) / done * (self.settings.max_iter - iteration) if done > 1 else None
        directory = self.experiment.directory
        strips = sorted(int(file.stem) for file in directory.glob("progress/*.jpg") if file.stem.isdecimal())
        page = Progress(
            experiment=self.experiment.name,
            iteration=iteration,
            max_iter=self.settings.max_iter,
            stats=stats,
            path=self.PATH,
            label=self.method.labels[self.PATH],
            strips=[at for at in strips if at <= iteration],
            seconds_left=left,
            running=running,
        )
        write_progress(page, directory)
        self.written = time.monotonic()
        self.page_cost = self.written - begun

    def _picture(self, iteration):
        begun = time.monotonic()
        with suppress(UserError):  # images of NaN, or too large for the GPU beside the training: no reason to stop it
            frames = self._frames()
            columns = frames.transpose(1, 0, 2, 3, 4).reshape(COLUMNS, -1, *frames.shape[3:])
            height = len(frames) * min(HEIGHT, frames.shape[2])
            save_strip(columns, self.experiment.directory / strip_file(iteration), COLUMNS, height)
        self.picture_cost = time.monotonic() - begun
        self.spent += self.picture_cost

    @torch.no_grad()
    def _frames(self):
        """Pixels (codes, COLUMNS, H, W, 3) along the path, as far as a walk goes."""
        method, space = self.method, self.method.space
        codes = getattr(method, "codes", None)  # of a method that edits codes of its own
        if codes is None:
            noise = generator_for(self.settings.seed, STREAM, 0)
            codes = space.codes_of(torch.randn(CODES, space.generator.z_dim, generator=noise).to(space.device))
        codes = codes[:CODES]
        length = method.walk_length(self.settings) or WalkSettings.shift_steps * WalkSettings.eps
        traced = trace(space, OnePath(method.paths, self.PATH), codes, STEPS, length / STEPS, STEPS // (COLUMNS // 2))
        synthesise = Synthesiser(space.synthesise, default_batch_size(space.generator))
        frames = synthesise(traced.flatten(0, 2))
        return frames.reshape(len(codes), COLUMNS, *frames.shape[1:])
