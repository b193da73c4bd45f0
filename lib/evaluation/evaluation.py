"""An evaluation from its codes to its figures: read along all paths, find each path's reach, read there, sum up.

Several processes share the codes. What has been read of a code is kept, so an evaluation that was stopped goes on.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib import distributed
from lib.evaluation import measures
from lib.evaluation.figures import Aim, aim_of, refined
from lib.evaluation.reading import NotFinite, Reader, bar
from lib.evaluation.samples import COUNT, Samples, read_samples
from lib.evaluation.scale import Scale
from lib.evaluation.walks import DECIDING, Walk, ends_at, paths_from
from lib.latent_space import latent_space
from models.errors import UserError

STEPS = 5  # read in either direction; the reach is read besides
ATTEMPTS = 3  # to read a path where its own effect is REACHED
FORMAT = 1  # of what is kept; of another format it is read anew


@dataclass(frozen=True)
class Subject:
    """What is evaluated. Raises UserError where it has one code only."""

    experiment: str
    pool: str
    space: object
    paths: object
    labels: Sequence
    sources: Sequence[Path]  # the codes' directories
    walk: Walk
    origin: dict  # the hashes that the codes on the paths depend on, "gan_sha256" among them

    def __post_init__(self):
        if len(self.sources) < 2:
            raise UserError(f"the pool {self.pool} has one code, and what a path changes systematically shows on two "
                            "or more: make a larger pool with sample_gan.py --num-samples")

    @property
    def codes(self):
        """Their names."""
        return [source.name for source in self.sources]


@dataclass(frozen=True)
class Readings:
    """What was read, as the first process has it. Arrays (B, ...) lie in files."""

    scale: Scale
    samples: Samples
    radii: np.ndarray  # (S + 1), those that were read
    aims: list[Aim]  # (K)
    along: dict  # numbers (B, K, 2S + 1, all), bend (B, K), identity (B, K, 2S + 1)
    at_reach: dict  # numbers (B, K, 2, all), features (B, K, 2, F), start_features (B, F), identity, lpips (B, K)
    notes: list[str]


def read(subject, judge, store, steps=STEPS, batch_size=None, own=None, perceptual=None, sample_count=COUNT):
    """Read all that the figures need, together with the other processes: `Readings` in the first, None in the others.

    own: {path: (number, sign)} that the user names. perceptual: images, images -> distances (B,). Raises UserError
    where images or numbers are not finite.
    """
    chosen = subject.walk.steps_read(steps)
    key = {"format": FORMAT, "judge": judge.fingerprint, "steps": chosen.tolist(), "perceptual": perceptual is not None,
           "identity": judge.identity and judge.identity.name,
           **{name: getattr(subject.walk.settings, name) for name in DECIDING}, **subject.origin}
    distributed.from_first(lambda: store.open(key))
    reader = Reader(subject.space, judge, batch_size, perceptual)
    samples = read_samples(subject.space, subject.origin["gan_sha256"], reader, sample_count)
    scale = Scale.of_samples(judge, _range_samples(subject, samples, judge, batch_size).numbers)
    _read_along(subject, reader, store, chosen)
    distributed.wait()
    radii = subject.walk.radii[chosen]
    along = store.stacked("along", subject.codes) if distributed.is_first() else None
    aims, notes = distributed.from_first(lambda: _aims(subject, judge, scale, along, radii, own or {}))
    aims = _read_reach(subject, reader, store, scale, along, radii, aims)
    if not distributed.is_first():
        return None
    return Readings(scale, samples, radii, aims, along, store.stacked("at_reach", subject.codes), notes)


def _range_samples(subject, samples, judge, batch_size):
    """Samples of everything that the generator shows, that is without truncation, by which numbers are scaled."""
    if judge.scaled or subject.space.truncation == 1:
        return samples
    whole = latent_space(subject.space.generator, classes=subject.space.classes)
    reader = Reader(whole, judge, batch_size)
    return read_samples(whole, subject.origin["gan_sha256"], reader, len(samples.numbers), "give the numbers' ranges")


def _own_share(subject, is_there):
    """This process' codes among those of which something is not there yet, as the first process sees it."""
    codes = list(enumerate(subject.sources))
    absent = distributed.from_first(lambda: [n for n, source in codes if not is_there(source.name)])
    return [subject.sources[n] for n in distributed.share(absent)]


def _read_along(subject, reader, store, chosen):
    """Read each path's frames at the chosen steps, and how straight it is."""
    middle, count = len(subject.walk.radii) - 1, len(subject.labels)
    frames = np.concatenate([middle - chosen[:0:-1], middle + chosen])
    shapes = {"numbers": (count, len(frames), len(reader.judge.names)), "bend": (count,)}
    own = _own_share(subject, lambda code: store.load("along", code, shapes) is not None)
    with bar("reading along the paths", len(own) * (1 + count * (len(frames) - 1))) as progress:
        for source in own:
            start, paths = paths_from(subject.walk, subject.space, subject.paths, source)
            positions = subject.space.positions(paths.flatten(0, 1)).unflatten(0, paths.shape[:2])
            with _named(source):
                read = reader.along(start, paths[:, frames], progress.update)
            store.save("along", source.name, read | {"bend": measures.bend(positions.cpu().numpy())})


def _aims(subject, judge, scale, along, radii, own):
    """What each path should change and where it is looked at: K times `Aim`, and notes on them."""
    aims, notes = [], []
    for k, meant in enumerate(judge.own(subject.labels)):
        meant, chosen_by = (own[k], "user") if k in own else (meant, "judge")
        index = scale.index(meant[0]) if meant else None
        if meant and index is None:
            notes.append(f"Path {k} should change {judge.names[meant[0]]}, which does not vary over the generator's "
                         "samples: the number that it moves most is taken instead.")
        target = None if index is None else (index, meant[1])
        aims.append(aim_of(scale(along["numbers"][:, k]), radii, target, chosen_by))
    return aims, notes


def _read_reach(subject, reader, store, scale, along, radii, aims):
    """Read each path's two frames at its reach; returns the aims with the radius that was read.

    Between the steps that were read, the reach is an estimate. If the own effect there turns out to be another one, the
    estimate is refined and read again.
    """
    known = distributed.from_first(lambda: store.known_reach(subject.codes, aims))
    wanted, attempts = known or aims, 1 if known else ATTEMPTS
    while wanted:
        aims, attempts = wanted, attempts - 1
        _read_at_reach(subject, reader, store, np.array([aim.radius for aim in aims]))
        distributed.wait()
        wanted = None
        if attempts:
            wanted = distributed.from_first(lambda aims=aims: _refined(subject, store, scale, along, radii, aims))
    distributed.from_first(lambda: store.keep_reach(subject.codes, aims))
    return aims


def _refined(subject, store, scale, along, radii, aims):
    """The aims with refined radii; None if all paths have their own effect REACHED in what was read."""
    numbers, at_reach = along["numbers"], store.stacked("at_reach", subject.codes)["numbers"]
    better = [refined(aim, scale(numbers[:, k]), radii, scale(at_reach[:, k])) for k, aim in enumerate(aims)]
    return None if better == aims else better


def _read_at_reach(subject, reader, store, reach):
    """Read each path's two frames at the distances reach (K,)."""
    shapes = {"numbers": (len(reach), 2, len(reader.judge.names)), "reach": reach.shape}

    def is_there(code):
        read = store.load("at_reach", code, shapes)
        return read is not None and np.array_equal(read["reach"], reach)

    own = _own_share(subject, is_there)
    with bar("reading at reach", len(own) * (1 + 2 * len(reach))) as progress:
        for source in own:
            start, paths = paths_from(subject.walk, subject.space, subject.paths, source)
            with _named(source):
                read = reader.at_reach(start, ends_at(paths, subject.walk.radii, reach), progress.update)
            store.save("at_reach", source.name, read | {"reach": reach})


@contextmanager
def _named(source):
    """Say of which code the images are that cannot be read."""
    try:
        yield
    except NotFinite as error:
        raise UserError(f"on the paths from code {source.name} {error}: shorten the paths, with fewer --shift-steps or "
                        "a smaller --eps") from None
