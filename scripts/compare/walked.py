"""Paths made comparable: for each dipole one path, in the direction of its first sentence, as long as it needs to be.

On the tuning codes it is found, and fixed for the fresh ones,

    which path     of a method without text, goes with each dipole, and in which direction: that with the least leak
    how long       each path is: to where its own number has moved by AIMED of its range, or as far as it moves at all,
                   at most a Jung radius of the space from the start
"""

from dataclasses import dataclass

import numpy as np
import torch

from lib.evaluation import measures
from lib.evaluation.reading import Reader
from lib.latent_space import jung_radius
from lib.paths.paths import Paths
from lib.paths.tracing import trace

AIMED = 0.9
STEPS = 32  # that a Jung radius is walked in
READ = (0, 2, 4, 6, 8, 12, 16, 24, 32)  # of them
MATCHING_STEPS, MATCHING_READ, MATCHING_CODES = 8, (0, 2, 4, 8), 6  # where many paths are looked through
CANDIDATES = 2  # for each dipole, of which the better one is found on all tuning codes
MOST_LEAK = 3.0  # what a path's leak counts at most, in means over paths: one that fails does not rule them


class Chosen(Paths):
    """Of other paths those of the indices (N,), each with a factor (N,) on its direction."""

    def __init__(self, paths, indices, factors):
        super().__init__()
        self.paths, self.from_start = paths, paths.from_start
        self.register_buffer("indices", torch.as_tensor(indices))
        self.register_buffer("factors", torch.as_tensor(factors, dtype=torch.float32))

    @property
    def num_paths(self):
        return len(self.indices)

    def forward(self, x, indices):
        """Positions x (B, d), path indices (B,) -> (B, d)."""
        indices = indices.to(self.indices.device)
        return self.factors[indices].to(x)[:, None] * self.paths(x, self.indices[indices])


@dataclass(frozen=True)
class Read:
    """What was read along paths: moved (B, K, S + 1, J), between the two ends at each of the radii (S + 1), in ranges;
    units (K,): the factors by which a path's own length is multiplied to have a radius of 1."""

    moved: np.ndarray
    radii: np.ndarray
    units: np.ndarray


@torch.no_grad()
def read_along(space, paths, indices, codes, judge, scale, steps=STEPS, read=READ):
    """`Read` of the paths of the indices (N,) from codes (B, ...), up to a Jung radius from the start."""
    starts, radius = space.positions(codes), jung_radius(space, seed=0)
    lengths = [paths(starts, torch.full((len(starts),), int(k))).norm(dim=1).mean().item() for k in indices]
    units = np.array([radius / length if length > 0 else 0.0 for length in lengths])
    chosen, reader = Chosen(paths, indices, units), Reader(space, judge, identities=False)
    frames = [steps + side * step for side, part in ((-1, read[:0:-1]), (1, read)) for step in part]
    numbers = []
    for code in codes.split(1):
        traced = trace(space, chosen, code, steps, 1 / steps)[0][:, frames]
        numbers.append(scale(reader.along(code, traced, lambda count: None)["numbers"]))
    return Read(measures.differences(np.stack(numbers)), np.array(read) / steps, units)


@dataclass(frozen=True)
class Candidate:
    """How well a path does for a dipole. sign: -1 where it has to be walked backwards. length: the factor on its
    direction that gives it the length that it needs."""

    path: int
    sign: int
    length: float
    leak: float
    stray: float
    own_effect: float
    reached: bool

    @property
    def rank(self):
        """Smaller for a better one: by its leak, after all others if it does not reach an own effect of 0.5."""
        return (0, self.leak) if self.reached else (1, -self.own_effect)


def candidate(path, moved, radii, unit, own, sign, may_turn):
    """A path as one for the number `own`, which the dipole's first sentence moves by `sign`.

    moved (B, S + 1, J). may_turn: whether it may be walked backwards.
    """
    curve = sign * moved[:, :, own].mean(axis=0)
    turn = -1 if may_turn and curve[np.abs(curve).argmax()] < 0 else 1
    weights = measures.resamples(len(moved), 0)
    figures = measures.path_figures(moved, radii, own, turn * sign, weights)
    (radius,), (is_there,) = measures.crossing(turn * curve[None], radii, AIMED)
    radius = radius if is_there else radii[1:][(turn * curve[1:]).argmax()]
    leak, stray = (min(float(figures[name][0]), MOST_LEAK) for name in ("leak", "stray"))
    return Candidate(int(path), turn, float(radius * unit), leak, stray, float((turn * curve).max()),
                     bool(figures["reached"][0]))  # fmt: skip


def match(space, paths, codes, judge, scale, owns):
    """For each of the dipoles' numbers `owns`, (index, sign), its best `Candidate` among all paths."""
    everything = range(paths.num_paths)
    few = read_along(space, paths, everything, codes[:MATCHING_CODES], judge, scale, MATCHING_STEPS, MATCHING_READ)
    shortlists = []
    for own in owns:
        found = [candidate(k, few.moved[:, k], few.radii, few.units[k], *own, True) for k in everything]
        shortlists.append([one.path for one in sorted(found, key=lambda one: one.rank)[:CANDIDATES]])
    listed = sorted({path for shortlist in shortlists for path in shortlist})
    read = read_along(space, paths, listed, codes, judge, scale)
    best = []
    for own, shortlist in zip(owns, shortlists):
        rows = [(path, listed.index(path)) for path in shortlist]
        found = [candidate(path, read.moved[:, n], read.radii, read.units[n], *own, True) for path, n in rows]
        best.append(min(found, key=lambda one: one.rank))
    return best


def each_its_own(space, paths, codes, judge, scale, owns, indices):
    """The `Candidate` of each dipole where path indices[n] was made for dipole n."""
    read = read_along(space, paths, indices, codes, judge, scale)
    return [candidate(k, read.moved[:, n], read.radii, read.units[n], *own, False)
            for n, (k, own) in enumerate(zip(indices, owns))]


def chosen_paths(paths, candidates):
    """The paths (N) of candidates, so that a shift of 1 is the end of each."""
    return Chosen(paths, [one["path"] for one in candidates], [one["sign"] * one["length"] for one in candidates])
