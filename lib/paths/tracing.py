"""Following paths from codes: the codes along all of them, and how far one of them has moved a code at any shift."""

import math
from dataclasses import dataclass

import torch

from lib.paths.choice import ChosenPaths


@torch.no_grad()
def trace(space, paths, codes, shift_steps, eps, leap=1):
    """Walk every path from every code, `shift_steps` steps of length `eps` in both directions, as one batch.

    codes (B, ...) -> (B, K, frames, ...): the start and every `leap`-th code on either side of it, from the end of
    negative shifts to that of positive ones. Each step follows the direction at the code where it starts, or
    that at the path's start (`Paths.from_start`).
    """
    num_codes, num_paths, reach = len(codes), paths.num_paths, shift_steps // leap
    current = codes.repeat_interleave(2 * num_paths, dim=0)
    indices = torch.arange(num_paths).repeat_interleave(2).repeat(num_codes)
    steps = eps * torch.tensor([-1.0, 1.0], device=codes.device).repeat(num_codes * num_paths)[:, None]
    traced = codes.new_empty(num_codes, num_paths, 2 * reach + 1, *codes.shape[1:])
    traced[:, :, reach] = codes[:, None]
    first = paths(space.positions(current), indices) if paths.from_start else None
    for step in range(1, reach * leap + 1):
        directions = paths(space.positions(current), indices) if first is None else first
        current = space.shift(current, steps * directions)
        if step % leap == 0:
            ends = current.unflatten(0, (num_codes, num_paths, 2))
            traced[:, :, reach - step // leap] = ends[:, :, 0]
            traced[:, :, reach + step // leap] = ends[:, :, 1]
    return traced


@dataclass(frozen=True)
class Straight:
    """A straight path from some codes. direction (B, d): the offsets of a shift of 1."""

    direction: torch.Tensor

    def at(self, shift):
        """The offsets (B, d) of the codes' positions at a shift."""
        return shift * self.direction


@dataclass(frozen=True)
class Bent:
    """A path from some codes, known at steps of `eps`. offsets (B, 2S + 1, d): those of the steps -S to S."""

    offsets: torch.Tensor
    eps: float

    def at(self, shift):
        """The offsets (B, d) of the codes' positions at a shift of at most S steps, linear between two steps."""
        steps = shift / self.eps + self.offsets.shape[1] // 2
        before = min(max(math.floor(steps), 0), self.offsets.shape[1] - 2)
        return torch.lerp(self.offsets[:, before], self.offsets[:, before + 1], steps - before)


@torch.no_grad()
def follow(space, paths, codes, k, shift_steps, eps):
    """Path k from codes (B, ...): a `Straight`, or what is bent as a `Bent` of `shift_steps` steps of length `eps` in
    both directions, at which it has the codes that `trace` finds."""
    positions, straight = space.positions(codes), paths.straight()
    if straight is not None:
        return Straight(straight[k].to(positions).expand_as(positions))
    if paths.from_start:
        return Straight(paths(positions, torch.full((len(codes),), k)))
    traced = trace(space, ChosenPaths(paths, [k]), codes, shift_steps, eps)[:, 0]
    moved = space.positions(traced.flatten(0, 1)).unflatten(0, traced.shape[:2])
    return Bent(moved - positions[:, None], eps)
