"""What a judge reads of pictures, as shares of what the generator shows."""

import threading
from dataclasses import dataclass

import numpy as np
import torch

from lib.evaluation.reading import Reader
from lib.evaluation.samples import COUNT, find_samples, read_samples
from lib.evaluation.scale import Scale
from lib.judges import JUDGE_OF, load_judge
from models.errors import UserError

FEWER = 400  # samples, where the cache lacks those of evaluate.py: its 2000 take minutes


@dataclass(frozen=True)
class Number:
    """One of a judge's numbers at the start and now, as shares of its range: 0 is its low end, 1 its high end."""

    name: str
    unit: str
    before: float
    now: float


class Judging:
    """A judge for one generator. Threads may share it."""

    def __init__(self, name, judge, gan_sha256):
        self.name, self.judge, self.gan_sha256 = name, judge, gan_sha256
        self.reading, self._scale = threading.RLock(), None  # one thread at a time reads
        if judge.scaled:
            count = len(judge.names)
            self._scale = Scale(list(judge.names), list(judge.units), np.arange(count), np.zeros(count),
                                np.ones(count), [])  # fmt: skip

    @classmethod
    def load(cls, name, settings, labels, device, gan_sha256):
        """The judge of a name, or where that is None the generator's own; None where it has none.

        Raises UserError where it cannot be loaded.
        """
        name = name or JUDGE_OF.get(settings.gan)
        if name is None:
            return None
        trained_clip = getattr(settings, "clip_model", None)
        judge = load_judge(name, labels=tuple(labels), trained_clip=trained_clip, device=str(device), gan=settings.gan)
        return cls(name, judge, gan_sha256)

    @property
    def is_ready(self):
        """Whether the ranges of its numbers are known."""
        return self._scale is not None

    def recall(self, space):
        """Take the ranges of its numbers from the generator's samples in the cache, where it has some."""
        samples = None if self.is_ready else find_samples(space, self.gan_sha256, self.judge, (COUNT, FEWER))
        if samples:
            self._scale = Scale.of_samples(self.judge, samples.numbers)

    def prepare(self, space, progress):
        """Learn the ranges of its numbers from samples of the generator that are made now. progress(images, of all) is
        told how far it is, and may raise to end it. Raises UserError where no number varies."""
        samples = read_samples(space, self.gan_sha256, Reader(space, _Locked(self)), FEWER, progress=progress)
        self._scale = Scale.of_samples(self.judge, samples.numbers)

    def read(self, image):
        """An image (1, 3, H, W) -> its numbers (J,), as shares of their ranges. Raises UserError where the judge cannot
        read it."""
        numbers = self(image.clamp(-1, 1))[0].float().cpu().numpy()
        if not np.isfinite(numbers).all():
            raise UserError("the judge reads numbers of this picture that are not finite")
        scale = self._scale
        return (numbers[scale.kept] - scale.low) / (scale.high - scale.low)

    def compared(self, before, now):
        """[Number, ...] of what `read` gave of two images, those that changed most first."""
        names = zip(self._scale.names, self._scale.units, before.tolist(), now.tolist())
        return sorted((Number(*one) for one in names), key=lambda one: -abs(one.now - one.before))

    @torch.no_grad()
    def __call__(self, images):
        with self.reading:
            return self.judge(images)


class _Locked:
    """A judge as `Reader` takes it, whose numbers are read by one thread at a time."""

    identity = None

    def __init__(self, judging):
        self._judging, self.fingerprint = judging, judging.judge.fingerprint

    def __call__(self, images):
        return self._judging(images)

    def features(self, images):
        with self._judging.reading:
            return self._judging.judge.features(images)
