"""How much of a picture a generator can show: the distance of its inversion, on a scale that the generator gives.

At one end of the scale are the generator's own samples, which it can show: how far their inversions are from them. At
the other end is how far its samples are from each other.
"""

import hashlib
import json
from typing import NamedTuple

import torch

from lib.config import CACHE
from lib.draws import generator_for
from lib.files import read_json, write_json
from lib.inversion.comparing import load_comparison
from lib.inversion.optimisation import invert
from lib.settings import InversionSettings
from models.errors import UserError

STREAM = 23  # of `generator_for`
SAMPLES = 8
LITTLE, MOST = 0.7, 0.85  # shares from which on a picture is shown in part, and well


class Reach(NamedTuple):
    own: float  # the median distance of the inversions of own samples
    other: float  # the mean distance between different samples

    def share(self, distance):
        """Of what a random sample lacks of the picture, the share that the inversion shows: 1 where it is as near as
        those of own samples, 0 where it is no nearer than a random sample. At most 1, and negative for odd pictures."""
        return min(1.0, (self.other - distance) / (self.other - self.own))

    def words(self, distance):
        """What is to be said of a picture."""
        share = self.share(distance)
        how = "shows it well" if share >= MOST else "shows it in part" if share >= LITTLE else "can hardly show it"
        scale = f"of own samples {self.own:.3f}, between random ones {self.other:.3f}"
        return f"distance {distance:.3f} ({scale}): the generator {how}, {max(0, share):.0%}"


def find_reach(space, settings, gan_sha256, progress=None):
    """The `Reach` of a space's generator with these settings, from the cache or measured now.

    space: Z, W or W+, where codes are sought. settings: `InversionSettings`, or with more. gan_sha256: of the
    generator's file. progress: as of `invert`, whose errors are raised too.
    """
    how = InversionSettings.of(vars(settings)).to_json()
    key = json.dumps([gan_sha256, space.name, space.truncation, space.resolution, SAMPLES, how])
    file = CACHE / f"inversion-{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    found = _kept(file, key)
    if found is None:
        found = measured_reach(space, settings, progress)
        write_json({"key": key, "own": found.own, "other": found.other}, file)
    return found


def measured_reach(space, settings, progress=None):
    """The `Reach` of a space's generator, of SAMPLES inversions."""
    targets = _samples(space)
    own = invert(space, targets, settings, progress).distances
    return Reach(own.median().item(), between_samples(space, settings.compare, targets))


@torch.no_grad()
def between_samples(space, compare, samples=None):
    """The mean distance between different samples of a space's generator, as `compare` of the settings names it."""
    samples = _samples(space) if samples is None else samples
    return load_comparison(compare, space.device).to(samples)(samples.roll(1, 0)).mean().item()


@torch.no_grad()
def _samples(space):
    z = torch.randn(SAMPLES, space.generator.z_dim, generator=generator_for(0, STREAM, 0)).to(space.device)
    return space.synthesise(space.codes_of(z)).clamp(-1, 1)


def _kept(file, key):
    """What a file of the cache says; None where it is missing or broken."""
    try:
        content = read_json(file)
    except UserError:
        return None
    if not isinstance(content, dict) or content.get("key") != key:
        return None
    numbers = [content.get(name) for name in Reach._fields]
    return Reach(*numbers) if all(type(number) is float and 0 <= number < 1e6 for number in numbers) else None
